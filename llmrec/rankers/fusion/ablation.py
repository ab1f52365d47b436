"""What each source and each feature group is worth: switched off, trained again, judged on sessions left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.metrics import MAX_RANKED, metric_by_rank
from llmrec.rankers.fusion.deciding.parts import columns_without, examples_without, proposed_without, sources_of
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.sources import active_groups
from llmrec.rankers.fusion.training import Fold, ValidationExamples, target_ranks
from llmrec.rankers.fusion.trees import Examples, Trees, grow_trees
from llmrec.rankers.rank import RankJob, learning_material
from llmrec.rankers.sessions import read_session_files
from llmrec.reporting.ablation import Ablation, ablate

__all__ = ["ablate_folds", "ablate_job"]


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
    told = learning_material(job, sessions)
    ranker = Fusion(replace(told.settings, boosters=1))
    return ablate_folds(ranker.folds_of(told.training, told.products), ranker)


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
    sources = sources_of(names)
    groups = [group for group in active_groups(ranker.settings) if any(n.startswith(f"{group}.") for n in names)]
    options = [*sources, *(groups if len(groups) > 1 else [])] if len(sources) > 1 else groups
    return ablate(options, lambda off: _judge(off, judged, names, examples, ranker))


def _judge(
    off: str, judged: ValidationExamples, names: Sequence[str], examples: Examples, ranker: Fusion
) -> dict[str, NDArray[np.float64]]:
    """What each session adds to MRR@100 and Recall@100 where trees are grown without a source or group."""
    settings, columns = ranker.settings, columns_without(names, [off])
    found = proposed_without(judged.features, names, [off])
    part = examples_without(examples, names, [off])
    text = grow_trees(part, [names[place] for place in columns], settings, settings.seed)
    scores = np.full(len(found), -np.inf)
    scores[found] = Trees([text]).scores(judged.features[found][:, columns], settings.threads)
    ranks = target_ranks(judged, scores)
    lost = judged.candidates.codes == judged.targets[judged.candidates.rows]
    ranks[judged.candidates.rows[lost & ~found]] = 0
    listed = np.where(ranks <= MAX_RANKED, ranks, 0)
    return {metric: metric_by_rank(metric)[listed] for metric in ("mrr@100", "recall@100")}
