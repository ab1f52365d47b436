"""The stages of the demo, each with its artefacts in a folder: what is there whole is not made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from llmrec.console import notice
from llmrec.data.importing import import_dataset
from llmrec.data.store import Store
from llmrec.errors import StoreError
from llmrec.evaluation.evaluate import evaluate_run
from llmrec.evaluation.results import Result, read_result
from llmrec.rankers.fitting import AnyRanker, fit, load_ranker
from llmrec.selection.settings import SelectJob
from llmrec.synth import synthesize
from llmrec.titles import generate_titles
from llmrec.titles.last_title import write_last_titles
from llmrec.titles.settings import GenerateConfig

if TYPE_CHECKING:
    from llmrec.text.search.similar import Hit

__all__ = [
    "Question",
    "fitted_ranker",
    "learn_selector",
    "make_store",
    "rank_products",
    "search_abroad",
    "write_titles",
]

SPLIT: Final = "validation"
# Settings that make minutes of what takes longer: fewer sessions to learn from, fewer trees, no neural scorer.
RANKERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "popularity": {},
    "covisit": {},
    "fusion": {"scorers": (), "max_sessions": 1500, "folds": 2, "rounds": 40, "boosters": 1},
}
SELECTOR: Final = {"max_sessions": 1200, "folds": 2, "rounds": 40, "choice_rounds": 60}
MODEL: Final[Mapping[str, Any]] = {
    "base_model": "tiny",
    "k": 3,
    "prompt": "plain_v1",
    "max_source_tokens": 128,
    "max_target_tokens": 48,
    "batch_size": 64,
    "learning_rate": 3e-3,
    "schedule": "cosine",
    "warmup_steps": 10,
    "validation_sample": 200,
    "log_to": "none",
    "max_minutes": 1.5,  # a busy machine ends with fewer steps, and the page says how many
}


@dataclass(frozen=True)
class Question:
    """A product, and what is like it elsewhere.

    Attributes:
        locale: Its locale.
        title: Its title.
        hits: Locale to the products most like it there, the best first.
    """

    locale: str
    title: str
    hits: Mapping[str, Sequence[Hit]]


def make_store(folder: Path, size: str, seed: int) -> Store:
    """Made-up sessions and products of six locales, as a store in ``folder``."""
    try:
        return Store.load(folder / "store")
    except StoreError:
        synthesize(folder / "raw", size=size, seed=seed)
        import_dataset(folder / "raw", folder / "store", seed=seed)
        return Store.load(folder / "store")


def fitted_ranker(store: Store, folder: Path, name: str, seed: int) -> AnyRanker:
    """One of the demo's rankers, from ``folder/models`` where it is there."""
    place = folder / "models" / name
    if place.is_dir():
        return load_ranker(place)
    settings = {**RANKERS[name], **({"seed": seed} if name == "fusion" else {})}
    ranker = fit(name, store.training(), store, sessions=store.sessions(SPLIT), **settings)
    ranker.save(place)
    return ranker


def learn_selector(store: Store, folder: Path, seed: int, out: Path | None = None) -> None:
    """Learn the demo's selector of titles, into ``folder/models``; with ``out`` it chooses titles as a run."""
    from llmrec.selection.select_titles import run_select_job  # here: --help needs no extra

    place: Path = folder / "models" / "selector"
    given: dict[str, Any] = {"load": place} if place.is_dir() else {"save": place, "settings": SELECTOR, "seed": seed}
    run_select_job(SelectJob(data=store.path, split=SPLIT, out=out, resume=out is not None, **given))


def rank_products(store: Store, folder: Path, seed: int) -> dict[str, Result]:
    """Scores of each ranker on the validation sessions, with intervals, and beside Popularity."""
    results: dict[str, Result] = {}
    for name in RANKERS:
        run = folder / f"{name}.parquet"
        if not run.is_file():
            fitted_ranker(store, folder.parent, name, seed).rank(store.sessions(SPLIT)).save(run)
        results[name] = _scored(store, run, None if name == "popularity" else folder / "popularity.parquet")
        notice(f"{name}: MRR@100 {results[name].overall.metrics['mrr@100']:.4f}")
    return results


def write_titles(store: Store, folder: Path, seed: int, steps: int) -> dict[str, Result]:
    """Scores of the last title, of a tiny mT5 trained from scratch for some steps, and of the selector."""
    runs = {name: folder / f"{name}.parquet" for name in ("last_title", "tiny_mt5", "select")}
    if not runs["last_title"].is_file():
        write_last_titles(store, SPLIT, runs["last_title"])
    if not runs["tiny_mt5"].is_file():
        notice(f"a tiny mT5 learns from scratch for {steps} steps or 90 s: an illustration, no model to judge by")
        place: dict[str, Any] = {
            "data": store.path,
            "split": SPLIT,
            "output_dir": folder / "tiny_mt5",
            "out": runs["tiny_mt5"],
        }
        generate_titles(GenerateConfig(**place, **MODEL, max_steps=steps, epochs=1e3, seed=seed, resume=True))
    if not runs["select"].is_file():
        learn_selector(store, folder.parent, seed, runs["select"])
    return {
        name: _scored(store, run, None if name == "last_title" else runs["last_title"]) for name, run in runs.items()
    }


def search_abroad(store: Store, folder: Path, titles: Sequence[tuple[str, str]], k: int = 2) -> list[Question]:
    """Products like some titles in the other locales.

    Args:
        store: Whose products are searched.
        folder: Where vectors and index are.
        titles: Locale and title of each.
        k: Most products of a locale.
    """
    from llmrec.text.search.similar import SimilarProducts

    products = SimilarProducts.build(store, folder)
    return [
        Question(locale, title, {one: products.search([title], k, one)[0] for one in products.locales if one != locale})
        for locale, title in titles
    ]


def _scored(store: Store, run: Path, baseline: Path | None) -> Result:
    """The scores of a run, from the result beside it where that is there."""
    file = run.with_suffix(".result.json")
    if file.is_file() and file.stat().st_mtime >= run.stat().st_mtime:
        return read_result(file)
    targets = store.path / f"sessions_{SPLIT}.parquet"
    result = evaluate_run(run, targets, products=store.products, compare=baseline, by=("locale",))
    result.save(file)
    return result
