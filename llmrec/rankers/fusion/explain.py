"""Why a product is where it is in a session's list, as plain data for JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llmrec.console import notice
from llmrec.errors import ConfigError
from llmrec.output import check, write_text
from llmrec.rankers.base import Seen
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.words import Words
from llmrec.rankers.sessions import Sessions, read_session_files
from llmrec.within import top_k_candidates

__all__ = ["explain_file", "explain_session"]


def explain_session(
    ranker: Fusion, items: Sequence[str], locale: str, k: int = 10, reasons: int = 5, seen: Seen | None = None
) -> dict[str, Any]:
    """Explain the first ``k`` products of one session.

    Args:
        ranker: A fitted fusion.
        items: The session.
        locale: Its locale.
        k: Products explained.
        reasons: Features named for each, those that move its score the most.
        seen: As `Ranker.rank`.

    Returns:
        ``session`` and ``locale``; ``shared``, what all candidates score before anything is known of them;
        ``products``, best first: ``id``, ``rank``, ``score``, ``sources`` (name → rank there), ``reasons``, each a
        ``feature``, its ``value`` (None where unknown) and what it ``adds`` to the score (TreeSHAP: over all features
        they and ``shared`` make the score), and ``why``, the strongest of them in words. A product that only fills the
        list up has no place here.
    """
    coded = ranker.catalogue.encode(Sessions.of([list(items)], [locale])).known()
    found, features = ranker.seen_by_trees(coded, seen or ranker.seen_by_default)
    scores = ranker.scores(found, features)
    best, values = top_k_candidates(found.rows, found.codes, scores, 1, k)
    listed = best[0][best[0] >= 0]
    places = np.searchsorted(found.codes, listed)
    trees = ranker.trees
    added = np.zeros((len(places), 1)) if trees is None or not len(places) else trees.contributions(features[places])
    names = [] if trees is None else trees.feature_names()
    products, words = [], Words(ranker.context, coded, found, locale)
    for rank, (place, own) in enumerate(zip(places, added, strict=True), 1):
        strongest = np.argsort(-np.abs(own[:-1]), kind="stable")[:reasons]
        products.append(
            {
                "id": ranker.catalogue.vocabulary.ids[int(found.codes[place])].as_py(),
                "rank": rank,
                "score": round(float(values[0, rank - 1]), 4),
                "sources": {
                    name: int(found.ranks[place, column])
                    for column, name in enumerate(ranker.context.sources)
                    if not np.isnan(found.ranks[place, column])
                },
                "reasons": [
                    {
                        "feature": names[column],
                        "value": _plain(features[place, column]),
                        "adds": round(float(own[column]), 4),
                    }
                    for column in strongest
                ],
                "why": words.of(place, dict(zip(names, features[place].tolist(), strict=False)), _by_name(names, own)),
            }
        )
    shared = round(float(added[0, -1]), 4) if len(added) else 0.0
    return {"session": list(items), "locale": locale, "shared": shared, "products": products}


def _by_name(names: Sequence[str], added: Any) -> dict[str, float]:
    return dict(zip(names, added.tolist(), strict=False))  # the last one is what all share


def _plain(value: np.floating[Any]) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)


def explain_file(model: Path, sessions: Path, out: Path, k: int, limit: int) -> None:
    """Explain the lists of a file's first sessions and write them as JSON.

    Raises:
        ConfigError: ``k`` or ``limit`` is below 1.
        DataError: the sessions cannot be read.
        ModelError: ``model`` holds no fused ranker.
    """
    for name, value in (("k", k), ("limit", limit)):
        if value < 1:
            raise ConfigError(f"--{name} must be at least 1; got {value}")
    check(out, "text")
    wanted = read_session_files(sessions).slice(0, limit)
    pairs, ranker = zip(wanted.prev_items.to_pylist(), wanted.locales.to_pylist(), strict=True), Fusion.load(model)
    for one in ranker.decisions:
        notice(f"fusion decided {one.told()}")
    explained = [explain_session(ranker, items, locale, k) for items, locale in pairs]
    write_text(out, json.dumps(explained, indent=1, ensure_ascii=False) + "\n")
