"""Result records: the scores of one run, overall and per locale, with what made them; JSON on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from msgspec import Meta

from llmrec.api.public import public
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bootstrap import Interval
from llmrec.evaluation.runs import Kind
from llmrec.records import Count, read_record, write_record

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["RESULT_VERSION", "Comparison", "Part", "Result", "Scores", "read_result", "refuse_partial", "write_result"]

RESULT_VERSION: Final = 1

Metrics = Mapping[str, Annotated[float, Meta(ge=0)]]
Shares = Mapping[str, Annotated[float, Meta(ge=0, le=1)]]


@dataclass(frozen=True)
class Scores:
    """Metrics of a set of sessions.

    Attributes:
        num_sessions: Sessions scored.
        metrics: Metric to value: ``mrr@100``, ``recall@100``, ``ndcg@100`` in [0, 1]; or ``bleu`` (0-100, 13a),
            ``bleu_char`` or another where the locale has a tokenizer of its own, ``brevity_penalty``, ``length_ratio``
            and ``exact_match`` (share of titles that are the target to the letter).
    """

    num_sessions: Count
    metrics: Metrics


@dataclass(frozen=True)
class Part:
    """Metrics of some of the sessions: those of a locale, of a length, whose target training knew (``warm``) …

    Attributes:
        num_sessions: Sessions of this part.
        metrics: As in `Scores`; empty where there is no such session.
        intervals: For each metric its percentile interval over resampled sessions; ``difference`` is the metric itself.
        differences: For each metric the run minus its baseline with the paired interval; empty without one.
        p_values: For each metric the two-sided p of that difference, by approximate randomisation.
    """

    num_sessions: Count
    metrics: Metrics
    intervals: Mapping[str, Interval]
    differences: Mapping[str, Interval] = field(default_factory=dict)
    p_values: Shares = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """A run beside a baseline on the same sessions.

    Attributes:
        baseline: Name of the other run.
        metric: ``bleu`` or ``mrr@100``.
        scores: The baseline's metric, per locale, ``overall``, and of ``warm`` and ``cold`` where these are told apart.
        intervals: Run minus baseline, for the same, with the paired bootstrap interval.
        p_values: For the same, the two-sided p of the difference, by approximate randomisation.
    """

    baseline: str
    metric: str
    scores: Metrics
    intervals: Mapping[str, Interval]
    p_values: Shares = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What `llmrec evaluate` finds out about a run.

    Attributes:
        run: Name of the run file.
        kind: ``titles`` or ``ranking``.
        n_sessions: Sessions scored.
        n_without_target: Sessions left out because their target (or its title) is not known.
        partial: Whether the run holds only the first sessions of its split; such a result stands in no table.
        overall: Metrics over all sessions (micro).
        macro: Plain mean of each metric that every locale has, over the locales.
        locales: Metrics of each locale: the paper's six in its order, then others by name.
        signatures: sacrebleu signature of each BLEU metric; empty for ranked lists.
        comparison: The baseline, where one was given.
        parts: ``all``, ``warm`` and ``cold``, where training files were given; empty otherwise.
        breakdowns: Grouping (`llmrec.evaluation.breakdowns`) to its parts, the last of them all sessions; those of
            ``locale`` end with ``mean of locales``, resampled within each locale.
        beyond: ``overall`` and, where there are several, each locale to its measures beyond accuracy: ``novelty@10`` …
            (`llmrec.evaluation.beyond`); empty where none were asked for.
        targets: Name of the targets file; empty where the scores are not of files.
        provenance: How the run was made.
        version: Version of this record.

    Example:
        >>> import llmrec
        >>> result = llmrec.evaluate([["cup", "pot"], ["tea"]], ["pot", "tea"], samples=100)
        >>> result.to_pandas().loc["overall", "recall@100"].item()
        1.0
    """

    run: str
    kind: Kind
    n_sessions: Count
    n_without_target: Count
    partial: bool
    overall: Scores
    macro: Metrics
    locales: Mapping[str, Scores]
    signatures: Mapping[str, str] = field(default_factory=dict)
    comparison: Comparison | None = None
    parts: Mapping[str, Part] = field(default_factory=dict)
    breakdowns: Mapping[str, Mapping[str, Part]] = field(default_factory=dict)
    beyond: Mapping[str, Part] = field(default_factory=dict)
    targets: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    version: int = RESULT_VERSION

    def __post_init__(self) -> None:
        counts = self.overall.num_sessions, sum(one.num_sessions for one in self.locales.values())
        if set(counts) != {self.n_sessions}:
            raise ValueError(f"{self.n_sessions} sessions, {counts[0]} overall and {counts[1]} in its locales")

    def to_pandas(self) -> pd.DataFrame:
        """Scores as a data frame.

        Returns:
            Rows ``overall``, then each locale; columns ``n_sessions`` and the metrics, fractions in [0, 1] or BLEU.
        """
        import pandas as pd

        rows = {"overall": self.overall, **self.locales}
        return pd.DataFrame(
            [{"n_sessions": scores.num_sessions, **scores.metrics} for scores in rows.values()],
            index=pd.Index(rows, name="locale"),
        )

    @public
    def save(self, path: Path | str) -> None:
        """Write it as JSON; `read_result` and ``llmrec results`` read it.

        Args:
            path: The file.

        Raises:
            ConfigError: ``path`` is the sidecar of a run.
            DiskError: the place cannot be written.
        """
        write_result(Path(path), self)

    def _repr_html_(self) -> str:
        table = self.to_pandas().round(4)
        if self.comparison is not None:
            gains = self.comparison.intervals
            table[f"{self.comparison.metric}, difference [95 %]"] = [
                f"{gain.difference:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]" if (gain := gains.get(row)) else ""
                for row in table.index
            ]
        return str(table._repr_html_())


def write_result(path: Path, result: Result) -> None:
    """Write a result as JSON.

    Raises:
        ConfigError: ``path`` is the sidecar of a run, which a result must not replace.
        DiskError: the place cannot be written.
    """
    if path.with_suffix(".parquet").exists():
        raise ConfigError(f"{path}: is the sidecar's name of a run; name the result {path.stem}.result.json")
    write_record(path, result)


def read_result(path: Path) -> Result:
    """Read a result.

    Raises:
        DataError: no such file, no result, or one of another version.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such result; write one: llmrec evaluate RUN --targets FILE --json {path.name}")
    return read_record(path, Result, "write it again: llmrec evaluate RUN --targets FILE", version=RESULT_VERSION)


def refuse_partial(result: Result) -> None:
    """Keep a partial result out of a table that claims a whole split.

    Raises:
        ConfigError: the result is of a partial run.
    """
    if result.partial:
        raise ConfigError(
            f"{result.run}: a partial run ({result.n_sessions} sessions) stands in no table; run it without --limit"
        )
