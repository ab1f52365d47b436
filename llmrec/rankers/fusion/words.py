"""Why a fused ranker lists a product, in words: what raised its score the most, with the counts behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np

from llmrec.rankers.attributes import ATTRIBUTES
from llmrec.rankers.counting.reasons import followed
from llmrec.rankers.fusion.candidate_features.feature_counts import ItemCount, PairCount
from llmrec.rankers.fusion.candidate_features.features import FeatureContext
from llmrec.rankers.fusion.candidates import Candidates
from llmrec.rankers.sessions import CodedSessions
from llmrec.rankers.vectors.item_vectors import ItemVectors

__all__ = ["Words"]

MOST: Final = 3
_ALIKE: Final = 0.3  # cosine that is worth a word
_HIGH: Final = 20  # rank that is
_SOURCES: Final = {  # what a ranker looks at, by the beginning of its name
    "covisit_last": "what is seen after the last product",
    "covisit_walk": "what is reached over products seen together",
    "covisit": "what is seen together with the session's products",
    "item_knn": "what similar sessions looked at",
    "vmis_knn": "what similar sessions looked at",
    "item_vectors": "what appears in the same surroundings",
    "text_knn": "titles like the session's",
    "title_vectors": "titles like the session's",
    "popularity": "what follows the last product",
    "global_popularity": "what is looked at the most",
}


class Words:
    """Says why candidates of one session are where they are."""

    def __init__(self, context: FeatureContext, session: CodedSessions, found: Candidates, locale: str) -> None:
        """
        Args:
            context: Sources and counts of a fitted fusion.
            session: One session of known items.
            found: Its candidates.
            locale: Its locale.
        """
        self._context, self._found, self._locale = context, found, locale
        self._last, self._place = int(session.ends[0]), int(session.locales[0])

    def of(self, place: int, values: Mapping[str, float], adds: Mapping[str, float]) -> list[str]:
        """At most three reasons, the strongest first.

        Args:
            place: Of the candidate.
            values: Features of the candidate by name; none where there are no trees.
            adds: What each adds to its score.
        """
        gains: dict[str, float] = defaultdict(float)
        for name, value in adds.items():
            gains[_kind(name)] += value
        if not gains:  # no trees: the ranks alone decide
            gains |= {f"source.{name}": -rank for name, rank in self._ranks(place).items()} | {"pair": 0.0}
        told = self._told(place, values)
        kinds = sorted((kind for kind in told if gains[kind] > 0 or not adds), key=lambda kind: -gains[kind])
        said = [text for kind in kinds if kind not in ("pair", "source") and (text := told[kind]())]
        first, last = told["pair"](), told["source"]()  # a count is what people believe; all sources are badges already
        return [text for text in (first, *said, last) if text][:MOST]

    def _told(self, place: int, values: Mapping[str, float]) -> dict[str, Callable[[], str]]:
        ranks = self._ranks(place)
        told: dict[str, Callable[[], str]] = {"pair": lambda: self._followed(place)}
        told["source"] = lambda: f"proposed by {len(ranks)} of {len(self._context.sources)} rankers" if ranks else ""
        for name, rank in ranks.items():
            if rank > _HIGH:
                continue
            told[f"source.{name}"] = lambda name=name, rank=rank: f"no. {rank} of {_looked_at(name)}"  # type: ignore[misc]
        for name, source in self._context.sources.items():
            told[f"vector.{name}"] = lambda name=name, source=source: _alike(  # type: ignore[misc]
                values.get(f"vector.{name}.last", np.nan), isinstance(source, ItemVectors)
            )
        told["item"] = lambda: self._frequency(place)
        told["product"] = lambda: _shared(values)
        told["price"] = lambda: _price(values.get("product.price_ratio", np.nan))
        for name in self._context.scorers:
            told[f"neural.{name}"] = lambda name=name: _ranked(name, values.get(f"neural.{name}.rank", np.nan))  # type: ignore[misc]
        told["id"] = lambda: "its id is near the session's ids" if values.get("id.near", 0) > 0 else ""
        return told

    def _ranks(self, place: int) -> dict[str, int]:
        row = self._found.ranks[place]
        return {name: int(row[at]) for at, name in enumerate(self._context.sources) if not np.isnan(row[at])}

    def _followed(self, place: int) -> str:
        if self._last < 0:
            return ""
        evidence, last = self._context.evidence, np.array([self._last])
        counts = evidence.lookup(last, self._found.codes[place : place + 1])[0]
        times = float(counts[PairCount.NEXT] + counts[PairCount.LABEL_NEXT])
        return followed(times, float(evidence.items[self._last, ItemCount.COUNT]))

    def _frequency(self, place: int) -> str:
        times = float(self._context.evidence.by_locale[self._place, self._found.codes[place]])
        return f"looked at {times:,.0f} times in {self._locale}" if times >= 1 else ""


def _kind(name: str) -> str:
    """What features are told of in one sentence."""
    group, rest = name.split(".", 1)
    if group in ("source", "vector", "neural"):
        return f"{group}.{rest.rpartition('.')[0]}" if "." in rest else group
    return "price" if rest.startswith("price") else group


def _looked_at(name: str) -> str:
    begins: Sequence[str] = sorted((one for one in _SOURCES if name.startswith(one)), key=len)
    return _SOURCES[begins[-1]] if begins else f"what {name} proposes"


def _alike(cosine: float, by_use: bool) -> str:
    if np.isnan(cosine) or cosine < _ALIKE:
        return ""
    what = "seen in the same surroundings as the last product" if by_use else "its title is like the last one's"
    return f"{what} (cosine {cosine:.2f})"


def _ranked(name: str, rank: float) -> str:
    what = "a language model" if name == "llm" else "a neural ranker"
    return "" if np.isnan(rank) else f"no. {int(rank)} for {name}, {what}"


def _shared(values: Mapping[str, float]) -> str:
    same = [name for name in ATTRIBUTES if name != "price" and values.get(f"product.{name}.last", 0) == 1]
    return f"the same {' and '.join(same[:2])} as the last product" if same else ""


def _price(ratio: float) -> str:
    if np.isnan(ratio):
        return ""
    share = float(np.exp(ratio))
    if 0.9 <= share <= 1.1:
        return "costs about what the last product costs"
    return (
        f"costs {share:.1f} times what the last product costs"
        if share > 1
        else f"costs {1 - share:.0%} less than the last product"
    )
