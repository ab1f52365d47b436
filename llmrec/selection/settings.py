"""What can be set of the title selector; `llmrec/recipes/select.yaml` holds the same names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmrec.settings import Decides, RecipeKind, option

__all__ = ["ORIGINS", "SelectSettings"]

ORIGINS = ("own", "likely", "given")


@dataclass(frozen=True, kw_only=True)
class SelectSettings:
    """Settings of `llmrec.selection.selector.Selector`."""

    DECIDES: ClassVar[Decides] = "titles"
    RECIPE_KIND: ClassVar[RecipeKind] = "select"
    GONE: ClassVar[tuple[str, ...]] = ("cuts",)

    sources: tuple[str, ...] = option(
        ("covisit_near", "covisit_walk", "covisit_walk_wide", "item_vectors", "vmis_knn", "title_vectors"),
        "Rankers that propose likely next products, each by the name of its recipe.",
    )
    without: tuple[str, ...] = option((), "Switched off: own, likely, given (titles), or a ranker of `sources`.")
    products: int = option(200, "Likely products of a session whose titles are weighed against each other.", minimum=2)
    titles: int = option(40, "Titles of likely products that can be chosen.", minimum=1)
    own: int = option(8, "Most recent titles of the session that can be chosen.", minimum=1)
    cold: bool = option(False, "Choose for targets that no training session holds, as in Task 3 (paper §2.2).")
    history: int = option(8, "Most recent items of a session that pairs are counted with.", minimum=1)
    transductive: bool = option(False, "Count in the prefixes of the sessions to choose for, as --transductive says.")
    folds: int = option(5, "Parts of the training sessions; a part is judged by what the others teach.", minimum=2)
    max_sessions: int = option(10_000, "Most labelled sessions that order and choice are learnt from.", minimum=4)
    rounds: int = option(150, "Trees that say which product is next.", minimum=1)
    choice_rounds: int = option(200, "Trees that say what a title is worth.", minimum=1)
    learning_rate: float = option(0.05, "Share of each tree.", above=0)
    leaves: int = option(31, "Most leaves of a tree.", minimum=2)
    min_leaf: int = option(60, "Fewest candidates in a leaf.", minimum=1)
    feature_share: float = option(0.4, "Share of the features that a tree sees.", above=0)
    l2: float = option(5.0, "Penalty on the leaves' values.", minimum=0)
    negatives: int = option(60, "Products kept of a training session beside its target.", minimum=1)
    given_share: float = option(0.2, "Weight of the given runs among the likely products.", minimum=0)
    threads: int = option(0, "Threads of the trees; 0 for all that OpenMP gives.", minimum=0, decides=None)
    seed: int = option(0, "Seed of folds, draws and trees.", minimum=0)
