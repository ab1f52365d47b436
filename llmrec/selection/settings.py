"""What can be set of the title selector; `llmrec/recipes/select.yaml` holds the same names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from llmrec.settings import Decides, RecipeKind, option

__all__ = ["ORIGINS", "WRITERS", "SelectJob", "SelectSettings"]

ORIGINS = ("own", "likely", "given")
WRITERS = ("edit",)


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
    writers: tuple[str, ...] = option(
        (),
        "Writers beside it: edit, which learns from the same sessions, and a language model, by folder, file or name.",
    )
    samples: int = option(
        4,
        "Titles that the model among the writers writes for a session: the likeliest and drawn ones.",
        minimum=0,
        maximum=64,
    )
    scored: int = option(10, "Titles to choose from whose log-probability that model gives.", minimum=0, maximum=200)
    writer_precision: Literal["fp32", "bf16"] = option("fp32", "Numbers that it computes with.")
    products: int = option(200, "Likely products of a session whose titles are weighed against each other.", minimum=2)
    titles: int = option(40, "Titles of likely products that can be chosen.", minimum=1)
    own: int = option(8, "Most recent titles of the session that can be chosen.", minimum=1)
    cold: bool = option(False, "Choose for targets that no training session holds, as in Task 3 (paper §2.2).")
    history: int = option(8, "Most recent items of a session that pairs are counted with.", minimum=1, maximum=10_000)
    transductive: bool = option(False, "Count in the prefixes of the sessions to choose for, as --transductive says.")
    folds: int = option(
        5, "Parts of the training sessions; a part is judged by what the others teach.", minimum=2, maximum=1_000
    )
    max_sessions: int = option(10_000, "Most labelled sessions that order and choice are learnt from.", minimum=4)
    rounds: int = option(150, "Trees that say which product is next.", minimum=1, maximum=100_000)
    choice_rounds: int = option(200, "Trees that say what a title is worth.", minimum=1, maximum=100_000)
    learning_rate: float = option(0.05, "Share of each tree.", above=0, maximum=1_000)
    leaves: int = option(31, "Most leaves of a tree.", minimum=2, maximum=131_072)
    min_leaf: int = option(60, "Fewest candidates in a leaf.", minimum=1)
    feature_share: float = option(0.4, "Share of the features that a tree sees.", above=0, maximum=1)
    l2: float = option(5.0, "Penalty on the leaves' values.", minimum=0)
    negatives: int = option(60, "Products kept of a training session beside its target.", minimum=1, maximum=1_000_000)
    given_share: float = option(
        0.2, "Weight of given runs and samples among the likely products.", minimum=0, maximum=1
    )
    threads: int = option(
        0, "Threads of the trees; 0 for all that OpenMP gives.", minimum=0, decides=None, maximum=1_024
    )
    seed: int = option(0, "Seed of folds, draws and trees.", minimum=0)


@dataclass(frozen=True, kw_only=True)
class SelectJob:
    """What to choose titles for: a split of a store, or the files themselves; and what to learn from."""

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Input": "data split candidates train sessions products load limit",
        "Output": "out last_title save resume",
        "On a cluster": "engine master",
        "Learning": "recipe settings writer without transductive cold seed allow_overlap",
    }

    data: Path | None = option(None, "Store that `llmrec data import` wrote. Its other sessions are learnt from.")
    split: str = option("test", "Split to choose titles for: test, validation, test_task3_phase2 …")
    out: Path | None = option(None, "Run to write (Parquet).", output="run")
    candidates: Sequence[Path] = option(
        (), "Runs of the same split, titles or ranked lists, to choose from as well. Several can follow.", several=True
    )
    train: Sequence[Path] = option(
        (), "Without --data: sessions with next_item. Several files can follow.", several=True
    )
    sessions: Path | None = option(None, "Without --data: sessions to choose titles for.")
    products: Path | None = option(None, "Without --data: products with titles.")
    last_title: Path | None = option(None, "Also write the last titles as a run, to compare with.", output="run")
    transductive: bool = option(
        False,
        "Learn from the sessions to predict as well, without their targets. The run says so.",
        flag="--transductive/--inductive",
    )
    cold: bool = option(
        False, "Choose for targets that no training session holds (Task 3), or for known ones.", flag="--cold/--warm"
    )
    save: Path | None = option(None, "Save the selector in this folder.", output="folder")
    load: Path | None = option(None, "Use this saved selector. Nothing is learnt.")
    engine: Literal["spark"] | None = option(None, "Work on a Spark cluster's executors instead: places are URIs.")
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )
    recipe: str | None = option(None, "Recipe, by name or file. Default: select.")
    settings: Mapping[str, Any] = option({}, "Change one setting, as name=value. Can be repeated.", flag="--set")
    writer: Sequence[str] = option(
        (),
        "Also ask a writer, and choose among what it writes: edit (the edit model, learnt here), or a language model's "
        "folder, GGUF file or hub name. Can be repeated.",
    )
    without: Sequence[str] = option((), "Leave out a kind of title (own, likely, given) or a ranker. Can be repeated.")
    resume: bool = option(True, "Continue an interrupted selection, or start over.", flag="--resume/--overwrite")
    limit: int | None = option(None, "Use only the first sessions. The run is marked partial.", minimum=1)
    seed: int | None = option(None, "Random seed. Default: the recipe's, or 0.", minimum=0)
    allow_overlap: bool = option(
        False, "Allow training sessions that repeat a session to predict with its target. The run says so."
    )
