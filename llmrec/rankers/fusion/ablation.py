"""What each source and each feature group is worth: switched off, trained again, judged on sessions left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from llmrec.console import notice, track
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.differences import difference_of
from llmrec.ragged import row_numbers
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.sources import active_groups
from llmrec.rankers.fusion.training import Fold, Judged, target_ranks
from llmrec.rankers.fusion.trees import Examples, Trees, grow_trees
from llmrec.rankers.rank import RankJob, learning_material
from llmrec.rankers.sessions import read_session_files

__all__ = ["Ablation", "ablate_folds", "ablate_job", "render_ablation"]

Floats = NDArray[np.float64]
LISTED = 100


@dataclass(frozen=True)
class Ablation:
    """What is lost where something is switched off.

    Attributes:
        off: The source or feature group; empty for the whole.
        mrr: MRR@100 on the sessions left out.
        recall: Recall@100 there.
        mrr_change: Against the whole, with its paired bootstrap interval; None for the whole itself.
        recall_change: Likewise.
        num_sessions: Sessions judged on.
    """

    off: str
    mrr: float
    recall: float
    mrr_change: Interval | None
    recall_change: Interval | None
    num_sessions: int


def ablate_job(job: RankJob) -> list[Ablation]:
    """Ablate what `llmrec.rankers.rank.run_rank_job` would fit: the same files, recipe and settings.

    Raises:
        ConfigError: the job is for another ranker, asks for something to be written or loaded, or names no files to
            learn from.
        DataError: a file is missing or malformed, or the labelled sessions are too few.
    """
    if job.ranker != Fusion.name:
        raise ConfigError(f"--ablate switches parts of 'fusion' off; '{job.ranker}' has none")
    if not job.train:
        raise ConfigError("nothing to ablate: give --train FILE with labelled sessions")
    refused = {
        "--out": job.out,
        "--save": job.save,
        "--load": job.load,
        "--pretrain": job.pretrain,
        "--per-locale": job.per_locale,
    }
    for flag, given in refused.items():
        if given:
            raise ConfigError(f"--ablate prints a table and keeps no ranker; leave {flag} out")
    sessions = None if job.sessions is None else read_session_files(job.sessions)
    training, products, settings, _ = learning_material(job, sessions)
    ranker = Fusion(replace(settings, boosters=1))
    return ablate_folds(ranker.folds_of(training, products), ranker)


def ablate_folds(folds: Sequence[Fold], ranker: Fusion) -> list[Ablation]:
    """Train on all folds but the first and judge on it: with everything, then without each source and each group.

    Without a source its own features go, and with them the candidates that no other source proposes. The counts of
    pairs and items are features of their groups and stay.

    Raises:
        DataError: there are fewer than two folds whose targets are proposed.
    """
    taught = [fold for fold in folds if fold.found]
    if len(taught) < 2 or taught[0].judged is None:
        raise DataError("too few labelled sessions to judge on: an ablation needs two folds with targets proposed")
    judged, names = taught[0].judged, taught[0].names
    examples = Examples.joined([fold.examples for fold in taught[1:]])
    sources = _sources(names)
    groups = [group for group in active_groups(ranker.settings) if any(n.startswith(f"{group}.") for n in names)]
    options = ["", *sources, *(groups if len(groups) > 1 else [])] if len(sources) > 1 else ["", *groups]
    rows: list[Ablation] = []
    whole: tuple[Floats, Floats] | None = None
    for off in track(options, "ablation", len(options)):
        reciprocal, hit = _judge(off, judged, names, examples, ranker)
        change = None if whole is None else difference_of(reciprocal, whole[0])
        recall = None if whole is None else difference_of(hit, whole[1])
        whole = whole or (reciprocal, hit)
        rows.append(Ablation(off, float(reciprocal.mean()), float(hit.mean()), change, recall, len(hit)))
        notice(f"without {off or 'nothing'}: mrr@100 {rows[-1].mrr:.4f}, recall@100 {rows[-1].recall:.4f}")
    return rows


def render_ablation(rows: Sequence[Ablation]) -> str:
    """The rows as a Markdown table."""
    lines = [
        f"{rows[0].num_sessions:,} sessions left out; 95 % paired bootstrap intervals",
        "",
        "| without | MRR@100 | change | Recall@100 | change |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row.off or "(nothing)", f"{row.mrr:.4f}", _interval(row.mrr_change)]
        lines.append("| " + " | ".join([*cells, f"{row.recall:.4f}", _interval(row.recall_change)]) + " |")
    return "\n".join(lines)


def _sources(names: Sequence[str]) -> list[str]:
    """Names of the sources, from those of their ranks, in order."""
    return [name.split(".")[1] for name in names if name.startswith("source.") and name.endswith(".rank")]


def _judge(off: str, judged: Judged, names: Sequence[str], examples: Examples, ranker: Fusion) -> tuple[Floats, Floats]:
    settings = ranker.settings
    kept = [place for place, name in enumerate(names) if off not in name.split(".")[:2] or not off]
    proposed: NDArray[np.bool_] = np.ones(len(examples.labels), dtype=np.bool_)
    found: NDArray[np.bool_] = np.ones(len(judged.features), dtype=np.bool_)
    sources = _sources(names)
    if off in sources:
        others = [names.index(f"source.{name}.rank") for name in sources if name != off]
        proposed = np.asarray(~np.isnan(examples.features[:, others]).all(axis=1))
        found = np.asarray(~np.isnan(judged.features[:, others]).all(axis=1))
    part = _kept(examples, proposed, kept)
    text = grow_trees(part, [names[place] for place in kept], settings, settings.seed)
    scores = np.full(len(found), -np.inf)
    scores[found] = Trees([text]).scores(judged.features[found][:, kept], settings.threads)
    ranks = target_ranks(judged, scores)
    lost = judged.candidates.codes == judged.targets[judged.candidates.rows]
    ranks[judged.candidates.rows[lost & ~found]] = 0
    hit = (ranks > 0) & (ranks <= LISTED)
    return np.where(hit, 1 / np.maximum(ranks, 1), 0.0), hit.astype(np.float64)


def _kept(examples: Examples, proposed: NDArray[np.bool_], columns: Sequence[int]) -> Examples:
    sessions = row_numbers(examples.sizes)[proposed]
    sizes = np.bincount(sessions, minlength=len(examples.sizes))
    kept = replace(
        examples,
        features=examples.features[proposed][:, columns],
        labels=examples.labels[proposed],
        sizes=sizes[sizes > 0],
        weights=examples.weights[proposed],
    )
    return kept


def _interval(change: Interval | None) -> str:
    return "" if change is None else f"{change.difference:+.4f} [{change.low:+.4f}, {change.high:+.4f}]"
