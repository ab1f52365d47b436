"""What each counting ranker keeps, counted on a cluster: the arrays that it saves, made of events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import ibis
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.cluster.model_pieces import Part, dense_part, id_part, ragged_part
from llmrec.cluster.training_events import TrainingEvents
from llmrec.rankers.base import Ranker
from llmrec.rankers.catalogue import NUM_POPULAR
from llmrec.rankers.counting.counts import both_ways, followers, newest_sessions, pair_sums
from llmrec.rankers.counting.covisit import CovisitSettings
from llmrec.rankers.counting.cuts import (
    ages_in,
    heaviest,
    held_counts,
    held_in_all,
    most_followed,
    most_held,
    steps_in,
    totals,
)
from llmrec.vocabulary import UNKNOWN

__all__ = ["COUNTED", "counted_parts"]

Counted = tuple[list[Part], dict[str, NDArray[Any]]]  # arrays on the cluster, and those of few numbers
Popular = tuple[NDArray[np.int32], NDArray[np.int32]]  # codes (L + 1, P), -1 beyond; how often each is held

_FEW: Final = 64  # items of a session, or that follow one


def counted_parts(ranker: type[Ranker[Any]], settings: Any, training: TrainingEvents) -> Counted:
    """The arrays of a ranker, as its ``save`` writes them.

    Args:
        ranker: One of `COUNTED`.
        settings: Its settings.
        training: What it learns from.

    Raises:
        ConfigError: the cluster lacks something.
    """
    held = training.keep("held", training.run(held_counts(training.table("events"))))
    popular = _popular(training, held)
    parts, small = COUNTED[ranker.name](training, settings, popular)
    return [id_part(training.vocabulary, training.items), *parts], {"catalogue.popular": popular[0], **small}


def _popular(training: TrainingEvents, held: Any) -> Popular:
    number, rows = min(NUM_POPULAR, training.items), len(training.locales) + 1
    codes, counts = np.full((rows, number), UNKNOWN, dtype=np.int32), np.zeros((rows, number), dtype=np.int32)
    places = {name: place for place, name in enumerate(training.locales)}
    everywhere = held_in_all(held).mutate(locale=ibis.literal(""))
    for table, row_of in ((held, places), (everywhere, {"": rows - 1})):
        for found in training.run(most_held(table, number)).collect():
            codes[row_of[found.locale], found.place] = found.item
            counts[row_of[found.locale], found.place] = found.held
    return codes, counts


def _global_popularity(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del training, settings
    return [], {"counts": popular[1]}


def _popularity(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del popular
    events = training.table("events")
    pairs = followers(steps_in(events))
    order = ibis.row_number().over(group_by="source", order_by=[pairs.weight.desc(), pairs.first])
    table = training.run(pairs.select(row="source", code="target", weight="weight", place=order))
    for least in (1, 0):  # without any session of two items, what there is most often
        most = [row.item for row in training.run(most_followed(events, settings.padding, least)).collect()]
        if most:
            break
    return [ragged_part("followers", table, training.items, _FEW)], {"padding": np.array(most, dtype=np.int64)}


def _neighbours(training: TrainingEvents, settings: CovisitSettings) -> Part:
    """Each item's neighbours, as `llmrec.rankers.counting.pair_sums.best_of_each` cuts them, and to the last bit."""
    summed = pair_sums(
        training.table("events"), settings.forward, settings.backward, settings.labelled_weight, settings.repeats
    )
    sums = both_ways(training.keep("sums", training.run(summed)))
    weighed = sums
    for ends, power in (("source", settings.source_power), ("target", settings.target_power)):
        if power:
            divisors = training.keep(f"{ends}_divisors", _powers(training.run(totals(sums, ends)), power))
            joined = weighed.join(divisors, weighed[ends] == divisors.item)
            weighed = joined.select("source", "target", weight=joined.weight / joined.divisor)
    best = heaviest(weighed, settings.neighbours)
    return ragged_part(
        "neighbours",
        training.run(best.select(row="source", place="target", code="target", weight="weight")),
        training.items,
        settings.neighbours,
    )


def _powers(found: Any, power: float) -> Any:
    """``item`` and the power of its ``total``, by numpy as everywhere: Java's differs in the last bit."""

    def powers(batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            divisors = pa.array(np.power(batch["total"].to_numpy(zero_copy_only=False), power))
            yield pa.RecordBatch.from_arrays([batch["item"], divisors], names=["item", "divisor"])

    return found.mapInArrow(powers, "item int, divisor double")


def _covisit(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del popular
    neighbours = _neighbours(training, settings)
    if not settings.locale_weight:
        return [neighbours], {"shares": np.zeros((0, 0), dtype=np.float32)}
    held = training.table("held")
    every = held_in_all(held).select("item", total="held")
    joined = held.join(every, "item")
    table = _by_locale(training, joined.select("locale", "item", value=joined.held / joined.total))
    return [neighbours, dense_part("shares", table, (len(training.locales) + 1, training.items), "float32")], {}


def _covisit_walk(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del popular
    table = _by_locale(training, training.table("held").select("locale", "item", value="held"))
    counts = dense_part("counts", table, (len(training.locales) + 1, training.items), "int32")
    return [_neighbours(training, settings), counts], {}


def _by_locale(training: TrainingEvents, table: Any) -> Any:
    """The table with the place of its ``locale`` as ``row``."""
    rows = [(name, place) for place, name in enumerate(training.locales)]
    places = training.session.createDataFrame(rows, "locale string, row int").hint("broadcast")
    return training.run(table).join(places, "locale")


def _session_neighbours(training: TrainingEvents, settings: Any, placed: bool) -> Counted:
    events, last = training.table("events"), training.sessions - 1
    held = ages_in(events) if placed else events.select("session", "item").distinct().mutate(age=ibis.literal(0))
    row = ibis.literal(last) - held.session
    sets = held.select(row=row, place="item", code="item", weight="age")
    newest = newest_sessions(events, settings.sample)
    code = ibis.literal(last) - newest.session
    index = newest.select(row="item", place=code, code=code)
    return [
        ragged_part("sessions", training.run(sets), training.sessions, _FEW, weighted=placed),
        ragged_part("index", training.run(index), training.items, settings.sample, weighted=False),
    ], {}


def _unplaced(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del popular
    return _session_neighbours(training, settings, placed=False)


def _placed(training: TrainingEvents, settings: Any, popular: Popular) -> Counted:
    del popular
    return _session_neighbours(training, settings, placed=True)


COUNTED: Final[dict[str, Callable[[TrainingEvents, Any, Popular], Counted]]] = {
    "popularity": _popularity,
    "global_popularity": _global_popularity,
    "covisit": _covisit,
    "covisit_walk": _covisit_walk,
    "item_knn": _unplaced,
    "vmis_knn": _unplaced,
    "stan": _placed,
    "vstan": _placed,
}
"""Rankers that are counted on a cluster, and how."""
