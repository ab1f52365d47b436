"""What `fusion` decides by itself on made-up shops, beside the same fit with each setting given by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated, Any, Final, NamedTuple

import numpy as np
import typer

from bench.measure import app
from llmrec.console import out, table

__all__ = ["deciding"]

ITEMS: Final = 400
SHELF: Final = 10  # products that are looked at together
LETTERS: Final = np.array(list("0123456789ABCDEFGHJKMNPQRSTVWXYZ"))
WALKS: Final = ("covisit_walk", "covisit_walk_wide", "item_vectors", "vmis_knn")
BY_HAND: Final = {"seen": "drop", "grouped": False, "label_last": False, "sources": WALKS, "scorers": ()}

Draw = Callable[[np.random.Generator], list[int]]


class Shop(NamedTuple):
    """A made-up shop.

    Attributes:
        draw: Draws a session, its label last.
        by_hand: Settings to set beside, over `BY_HAND`, by what they are called.
        told: Whether ids count up; else they are letters at random.
        title: Title of an item; none where the shop has no products.
        labelled: Whether sessions have a ``next_item``.
        prefixes: Whether every prefix of three items or more is a session, too.
    """

    draw: Draw
    by_hand: Mapping[str, Mapping[str, Any]]
    told: bool = True
    title: Callable[[np.random.Generator, int], str] | None = None
    labelled: bool = True
    prefixes: bool = False


def _shelf(repeats: float) -> Draw:
    """Items of one shelf; the label is one that was seen, the latest most often, or another of the shelf."""

    def draw(rng: np.random.Generator) -> list[int]:
        order = rng.permutation(SHELF) + rng.integers(ITEMS // SHELF) * SHELF
        length = int(rng.integers(3, 6))
        again = length - min(int(rng.geometric(0.5)), length)
        return [*order[:length].tolist(), int(order[again if rng.random() < repeats else length])]

    return draw


def _popular(rng: np.random.Generator) -> list[int]:
    """Items that have nothing to do with each other, some far more often than others."""
    shares = 1 / np.arange(1, ITEMS + 1)
    drawn: list[int] = rng.choice(ITEMS, rng.integers(3, 7), p=shares / shares.sum()).tolist()
    return drawn


def _random_words(rng: np.random.Generator, item: int) -> str:
    del item
    return " ".join("".join(rng.choice(LETTERS, 5)) for _ in range(4))


def _shelf_words(rng: np.random.Generator, item: int) -> str:
    return f"{'abcdefghijklmnopqrstuvwxyz'[item // SHELF % 26] * 3}{item // SHELF} {_random_words(rng, item)[:5]}"


_SEEN: Final = {"seen items kept": {"seen": "keep"}, "dropped": {}}
_READ: Final[Mapping[str, Any]] = {"sources": (*WALKS, "title_vectors")}
_TEXTS: Final = {"with texts": _READ, "without texts": {}}
SHOPS: Final[Mapping[str, Shop]] = {
    "repeat-heavy": Shop(_shelf(0.6), _SEEN),
    "repeat-heavy, no label": Shop(
        _shelf(0.6),
        {"kept": {"seen": "keep", "label_last": "any"}, "dropped, new labels": {"label_last": True}},
        labelled=False,
    ),
    "popularity-only": Shop(
        _popular, {**_SEEN, "kept, global_popularity too": {"seen": "keep", "sources": (*WALKS, "global_popularity")}}
    ),
    "ids that say nothing": Shop(_shelf(0), {"with ids": {}, "without": {"without": ("id",)}}, told=False),
    "titles that tell": Shop(_shelf(0), _TEXTS, title=_shelf_words),
    "titles that say nothing": Shop(_shelf(0), _TEXTS, title=_random_words),
    "prefixes": Shop(_shelf(0), {"grouped": {"grouped": True}, "not grouped": {}}, prefixes=True),
}


def _sessions(shop: Shop, rng: np.random.Generator, number: int) -> list[list[int]]:
    sessions: list[list[int]] = []
    while len(sessions) < number:
        whole = shop.draw(rng)
        sessions += [whole[:end] for end in (range(3, len(whole) + 1) if shop.prefixes else [len(whole)])]
    return sessions


def _gains(fit: Callable[..., Any], settings: Mapping[str, Any], held: list[list[str]]) -> tuple[Any, Any]:
    """What each held-out session adds to MRR@100 where a ranker is fitted with some settings, and the ranker."""
    ranker = fit(**settings)
    lists = ranker.rank([one[:-1] for one in held], locale="UK").to_list()
    places = [each.index(one[-1]) + 1 if one[-1] in each else np.inf for one, each in zip(held, lists, strict=True)]
    return 1 / np.array(places), ranker


@app.command()
def deciding(
    only: Annotated[list[str] | None, typer.Option(help="Shops; all if not given.")] = None,
    sessions: int = 2_500,
    judged: int = 1_000,
    seed: int = 0,
) -> None:
    """Fit `fusion` by its recipe and by hand on made-up shops: MRR@100, paired differences, and what was decided."""
    import pandas as pd

    import llmrec
    from llmrec.evaluation.differences import difference_of
    from llmrec.rankers import TrainingSessions

    for name in only or SHOPS:
        shop, rng = SHOPS[name], np.random.default_rng(seed)
        ids = [f"B{one:05}" if shop.told else "".join(rng.choice(LETTERS, 10)) for one in range(ITEMS)]
        training, held = (
            [[ids[item] for item in one] for one in _sessions(shop, rng, many)] for many in (sessions, judged)
        )
        products = None
        if shop.title is not None:
            titles = [shop.title(rng, item) for item in range(ITEMS)]
            products = pd.DataFrame({"id": ids, "locale": "UK", "title": titles})
        told = TrainingSessions.of(training, ["UK"] * len(training), shop.labelled)
        fit = partial(llmrec.fit, "fusion", told, products)
        own, ranker = _gains(fit, {}, held)
        rows = [("by itself", f"{own.mean():.4f}", "")]
        for label, settings in shop.by_hand.items():
            hand, _ = _gains(fit, {**BY_HAND, **settings}, held)
            found = difference_of(own, hand)
            rows.append((label, f"{hand.mean():.4f}", f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"))
        out.print(table(name, ["fit", "MRR@100", "by itself less this"], rows))
        for one in ranker.decisions:
            out.print(f"  {one.told()}", soft_wrap=True)
