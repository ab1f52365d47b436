"""The 10th-highest SKNN score of sessions: is there enough collaborative evidence around them (paper §3, Fig. 2f)?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.console import progress_bar, track
from llmrec.errors import ConfigError
from llmrec.paper.statistics.corpus import Corpus
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.counting.item_knn import ItemKnn, ItemKnnSettings
from llmrec.rankers.counting.session_neighbours import Neighbours
from llmrec.rankers.sessions import CodedSessions, Sessions

__all__ = ["NTH", "SknnScores", "sknn_scores"]

NTH: Final = 10
_CHUNK: Final = 256


@dataclass(frozen=True)
class SknnScores:
    """Scores of a sample of sessions.

    Attributes:
        table: ``locale`` and ``score`` of each session of the sample; 0 where fewer than ten items score at all.
        num_sessions: Sessions that neighbours were looked for in, and that the sample was drawn from.
        settings: Neighbours that vote, and newest sessions looked at for each item.
        seed: Seed of the draw.
    """

    table: pa.Table
    num_sessions: int
    settings: ItemKnnSettings
    seed: int


class _OthersKnn(ItemKnn):
    """Session-KNN among the other sessions: a session of the training set is no neighbour of itself."""

    own: Ints = np.zeros(0, dtype=np.int64)  # the index's number of each session that is being scored

    def _nearest(self, found: Neighbours, num_rows: int, number: int) -> Neighbours:
        rows, neighbours, similarity = found
        others = neighbours != self.own[rows]
        return super()._nearest((rows[others], neighbours[others], similarity[others]), num_rows, number)

    def scores(self, sessions: CodedSessions, numbers: Ints, nth: int) -> NDArray[np.float64]:
        """The ``nth`` highest score of sessions that the index holds under ``numbers``; 0 where there is none."""
        self.own = numbers
        _, scores = self.propose(sessions, nth, seen="keep")
        if scores.shape[1] < nth:
            return np.zeros(len(sessions))
        highest: NDArray[np.float64] = scores[:, nth - 1].astype(np.float64)
        return np.where(np.isfinite(highest), highest, 0.0)


def sknn_scores(
    corpus: Corpus,
    sample: int = 10_000,
    seed: int = 0,
    settings: ItemKnnSettings | None = None,
) -> SknnScores:
    """Score the items of the sessions around a session and take the tenth highest (paper §3, Fig. 2f).

    ``score(e, s)`` is the sum of the cosine similarities between s and its nearest sessions that hold e. A session is
    not its own neighbour; its own items are scored as all others, for the formula leaves none out. Neighbours are
    looked for in all counted sessions; the sample is only of the sessions that are scored.

    Args:
        corpus: Sessions.
        sample: Sessions to score, drawn without replacement.
        seed: Seed of the draw.
        settings: How many neighbours vote; the paper does not say, `ItemKnnSettings` by default.

    Raises:
        ConfigError: ``sample`` is below 1.
    """
    if sample < 1:
        raise ConfigError(f"the SKNN sample must be at least 1 session; got {sample}")
    settings = settings or ItemKnnSettings()
    with progress_bar() as bar:
        bar.add_task("read", total=None, note="sessions and their items")
        sessions = _read(corpus)
        catalogue, coded = catalogue_and_codes(sessions.bare())
        locales = sessions.locales
        del sessions
    knn = _OthersKnn(settings).fit_coded(catalogue, coded)
    drawn = np.sort(np.random.default_rng(seed).choice(len(coded), min(sample, len(coded)), replace=False))
    chosen, numbers = coded.take(drawn), len(coded) - 1 - drawn  # the index counts from the newest
    scores = np.zeros(len(drawn))
    starts = range(0, len(drawn), _CHUNK)
    for start in track(starts, "10th SKNN score", len(starts)):
        part = slice(start, start + _CHUNK)
        scores[part] = knn.scores(chosen.slice(start, _CHUNK), numbers[part], NTH)
    table = pa.table({"locale": locales.take(pa.array(drawn)), "score": scores})
    return SknnScores(table, len(coded), settings, seed)


def _read(corpus: Corpus) -> Sessions:
    sessions = corpus.sessions
    # in the files' order, which stands for time: the draw then does not depend on threads
    table = corpus.rows(sessions.order_by("split", "session_id").select("prev_items", "locale"))
    lists = table["prev_items"].cast(pa.list_(pa.string())).combine_chunks()
    return Sessions(lists, table["locale"].cast(pa.string()).combine_chunks())
