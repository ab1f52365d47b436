"""What can be set of the fused ranker: sources, features, folds and trees, all in one recipe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from llmrec.settings import Decides, option

__all__ = ["USUAL_SCORERS", "USUAL_SOURCES", "Auto", "FusionSettings"]

Auto = Literal["auto"]
"""What stands for a setting that fusion decides by itself, from the training sessions alone."""

USUAL_SOURCES = (
    "covisit_walk",
    "covisit_walk_wide",
    "item_vectors",
    "vmis_knn",
    "title_vectors",
)
USUAL_SCORERS = ("stamp_scorer",)


@dataclass(frozen=True, kw_only=True)
class FusionSettings:
    """Settings of `llmrec.rankers.fusion.ranker.Fusion`."""

    DECIDES: ClassVar[Decides] = "lists"
    GONE: ClassVar[tuple[str, ...]] = ("teach_cold",)

    sources: tuple[str, ...] | Auto = option(
        USUAL_SOURCES,
        "Rankers that propose candidates, each by the name of its recipe; auto: the usual ones, texts where they help.",
    )
    unlabelled: tuple[str, ...] = option(
        ("item_vectors",), "Sources that learn without labels where use is transductive: once, and not in each fold."
    )
    scorers: tuple[str, ...] | Auto = option(
        (),
        "Neural rankers that score what the sources propose, each by the name of its recipe; llm, a language model; "
        "auto: stamp_scorer where it pays.",
    )
    llm_model: str | None = option(
        None, "Language model of the scorer llm, which reads titles: folder, adapter, GGUF file or hub name."
    )
    llm_method: Literal["likelihood", "pmi", "yes"] = option(
        "likelihood", "What it is asked of a candidate, as `llmrec rerank --method` does."
    )
    llm_top: int = option(
        10, "Candidates of a session that it scores: the best by their ranks at the sources.", minimum=2, maximum=50
    )
    llm_k: int | None = option(
        None, "K: number of most recent titles that it is shown. Default: the model's own, or 3.", minimum=1
    )
    llm_precision: Literal["fp32", "bf16"] = option("fp32", "Numbers that it computes with.")
    llm_cache: str | None = option(
        None, "File that keeps its answers for the next fit. Default: a temporary one.", decides=None
    )
    seen: Literal["drop", "keep", "auto"] = option(
        "drop", "What lists do with the session's own items where no --seen says it; auto: what ranks better."
    )
    familiar: float = option(
        0.5,
        "Share of a bare session's items that labelled sessions must hold for the scorers to learn from it.",
        minimum=0,
        maximum=1,
    )
    scorer_sessions: int = option(
        150_000, "Most sessions that the scorers learn from, drawn where there are more.", minimum=1
    )
    without: tuple[str, ...] = option((), "Sources, scorers and feature groups to switch off.")
    depth: int = option(300, "Candidates that a source proposes.", minimum=1)
    candidates: int = option(300, "Most candidates of a session.", minimum=1)
    history: int = option(8, "Most recent items of a session that pairs are counted with.", minimum=1, maximum=10_000)
    window: int = option(
        6, "Farthest distance of two items in a session that counts as a pair.", minimum=1, maximum=10_000
    )
    pair_decay: float = option(
        0.5, "A pair one place farther apart counts so much of the nearer one.", above=0, maximum=2
    )
    transductive: bool = option(False, "Whether sessions to rank for are in the counts, as --transductive says.")
    folds: int = option(
        5, "Parts of the labelled sessions; a part's features are made without its labels.", minimum=1, maximum=1_000
    )
    label_last: bool | Literal["any", "auto"] = option(
        False,
        "Where no session is labelled, take the last of three or more items for the label: true, if it is new there; "
        "any, be it new or not; auto: any, or true where seen is drop.",
    )
    grouped: bool | Auto = option(
        False,
        "Keep sessions that go on from one another in one fold, for their labels go together; auto: where many do.",
    )
    cold_share: float = option(
        0.0,
        "Share of a fold's targets taken out of its counts, so that trees learn what a cold product is.",
        minimum=0,
        maximum=1,
    )
    cold_bonus: float | Auto = option(
        0.0,
        "Added to the trees' score of a product that no training session holds; auto: the most that costs no more "
        "than 3 % of MRR out of fold.",
        minimum=0,
        maximum=100,
    )
    max_sessions: int = option(200_000, "Most labelled sessions that the trees learn from.", minimum=1)
    negatives: int = option(
        60, "Candidates kept of a training session beside its target.", minimum=1, maximum=1_000_000
    )
    objective: Literal["lambdarank", "rank_xendcg", "binary"] = option("lambdarank", "What the trees optimise.")
    boosters: int = option(
        1,
        "Models averaged, each without one fold, on which it is judged, and with a seed of its own.",
        minimum=1,
        maximum=1_000,
    )
    rounds: int = option(120, "Trees of a model.", minimum=1, maximum=100_000)
    learning_rate: float = option(0.1, "Share of each tree.", above=0, maximum=1_000)
    leaves: int = option(31, "Most leaves of a tree.", minimum=2, maximum=131_072)
    min_leaf: int = option(100, "Fewest candidates in a leaf.", minimum=1)
    feature_share: float = option(0.5, "Share of the features that a tree sees.", above=0, maximum=1)
    l2: float = option(5.0, "Penalty on the leaves' values.", minimum=0)
    truncation: int = option(100, "Places of the list that lambdarank looks at.", minimum=1)
    first_trees: int = option(60, "Trees that all candidates pass; 0 for all of them.", minimum=0)
    finalists: int = option(20, "Candidates of a session that the other trees see.", minimum=1)
    threads: int = option(
        0,
        "Threads of trees and of ranking in batch; 0 for all that OpenMP gives.",
        minimum=0,
        decides=None,
        maximum=1_024,
    )
    seed: int = option(0, "Seed of folds, draws and trees.", minimum=0)

    @property
    def source_names(self) -> tuple[str, ...]:
        """The sources, those still to be decided among them."""
        return USUAL_SOURCES if self.sources == "auto" else self.sources

    @property
    def scorer_names(self) -> tuple[str, ...]:
        """The scorers, those still to be decided among them."""
        return USUAL_SCORERS if self.scorers == "auto" else self.scorers
