"""Learns which words of the last titles to keep, out of fold, and at which price of a word BLEU is highest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Bools, Floats, Ints
from llmrec.console import track
from llmrec.evaluation.bleu import ORDERS, bleu_from_stats
from llmrec.evaluation.differences import difference_of
from llmrec.languages import PAPER_BLEU
from llmrec.ragged import Ragged, offsets_of
from llmrec.text.ngrams import NO_TITLE, TitleBook, agreement, lengths_by_order
from llmrec.titles.editing.counts import Counts, count
from llmrec.titles.editing.kept_words import kept_text
from llmrec.titles.editing.network import Network, learn
from llmrec.titles.editing.phrases import Phrases, learn_phrases
from llmrec.titles.editing.pieces import Pieces, describe, labels, recent_pieces
from llmrec.titles.editing.tagging import by_start, keep_words, kept_tokens
from llmrec.titles.editing.told import Told
from llmrec.within import best_within

__all__ = ["EditFold", "EditSettings", "Editor", "Scored", "Written", "learn_editor", "with_phrases"]

CHUNK: Final = 512
_COSTS: Final = np.linspace(-1, 1, 11)  # prices of a word that are looked at, around one and as far as a width
_SETTLING: Final = 3  # rounds of choosing at prices and pricing the choice


@dataclass(frozen=True, kw_only=True)
class EditSettings:
    """Settings.

    Attributes:
        k: Most recent titles that words are kept of.
        told: Phrases, or titles told by others, that words are kept of as well.
        phrases: Most phrases that are learnt.
        folds: Parts of the training sessions; each is judged by what the others teach.
        epochs: Passes of the network.
        rate: Its highest learning rate.
        examples: Most n-grams that a network learns from.
        seed: Seed of draws.
    """

    k: int = 3
    told: int = 8
    phrases: int = 256
    folds: int = 5
    epochs: int = 4
    rate: float = 3e-3
    examples: int = 600_000
    seed: int = 0


@dataclass(frozen=True)
class EditFold:
    """Sessions to judge by what others teach.

    Attributes:
        own: Titles of ``S`` sessions, oldest first.
        targets: Shape ``(S,)``; title of each target.
        taught: Titles and targets of the sessions that may be counted for them.
        told: What others tell of them; learnt phrases if not given.
    """

    own: Ragged
    targets: Ints
    taught: tuple[Ragged, Ints]
    told: Told | None = None


@dataclass(frozen=True)
class Scored:
    """What may be written for ``S`` sessions, and the odds of its n-grams.

    Attributes:
        start: Place of the first session.
        number: ``S``.
        pieces: What titles are made of.
        keys: Shape ``(G,)``; n-grams, as `Grams` has them.
        odds: Shape ``(G,)``; probability of each to be in the next title.
        values: The same by order and first token, from `by_start`.
    """

    start: int
    number: int
    pieces: Pieces
    keys: NDArray[np.uint64]
    odds: Floats
    values: Floats

    def written(self, book: TitleBook, found: NDArray[np.float64], cost: float) -> Written:
        """The best words at a price; the last title where no word is worth it."""
        pieces = self.pieces
        owner, tokens = book.flat_tokens(pieces.titles)
        last = pieces.ages == 0
        if np.isfinite(cost):
            kept = keep_words(book.lengths[pieces.titles], self.values, found, cost)
            some = np.bincount(pieces.rows[owner[kept]], minlength=self.number) > 0
            kept |= (last & ~some[pieces.rows])[owner]  # no title is written that says nothing
        else:
            kept = last[owner]
        return Written(pieces, kept, kept_tokens(tokens, pieces.rows[owner], kept, self.number))


@dataclass(frozen=True)
class Written:
    """Words of sessions' titles: kept tokens of pieces."""

    pieces: Pieces
    kept: Bools
    tokens: Ragged

    def texts(self, book: TitleBook, way: str) -> list[str]:
        """The titles as text; "" where nothing is kept."""
        parts: list[list[str]] = [[] for _ in range(len(self.tokens))]
        bounds = offsets_of(book.lengths[self.pieces.titles])
        titles = self.pieces.titles.tolist()
        for place, (row, title) in enumerate(zip(self.pieces.rows.tolist(), titles, strict=True)):
            kept = self.kept[bounds[place] : bounds[place + 1]]
            if kept.any():
                parts[row].append(kept_text(book.texts[title].as_py(), kept, way))
        return [" ".join(some) for some in parts]


@dataclass(frozen=True)
class Editor:
    """Keeps and drops words of titles that are counted by one tokenizer.

    Attributes:
        settings: Settings.
        counts: What training sessions say of n-grams.
        phrases: What is put in; None where others tell.
        networks: Their mean gives the probability that an n-gram is in the next title.
        found: Shape ``(4,)``; what a matched n-gram of each order is worth.
        cost: What a word costs; infinite where the last title always stays.
        estimate: How it did on sessions that it had not learnt from.
    """

    settings: EditSettings
    counts: Counts
    phrases: Phrases | None
    networks: tuple[Network, ...]
    found: NDArray[np.float64]
    cost: float
    estimate: dict[str, Any] = field(default_factory=dict)

    def score(self, book: TitleBook, own: Ragged, told: Told | None = None) -> Iterator[Scored]:
        """Odds of what may be written for sessions, a chunk after another.

        Args:
            book: Titles; it ends with the phrases, where these are learnt.
            own: Titles of the sessions, oldest first.
            told: Titles told by others, where the editor has learnt from such.
        """
        if self.phrases is not None:
            told = self.phrases.told(book, own, len(book) - len(self.phrases.texts), self.settings.told)
        for start, some, said in _chunks(own, told or Told.none()):
            yield _scored(book, start, some, said, self.settings, self.counts, self.networks)


def with_phrases(book: TitleBook, phrases: Sequence[Phrases], way: str) -> TitleBook:
    """A book, and behind its titles the phrases, counted by a tokenizer."""
    locale = next((one for one, own in book.tokenizers.items() if own == way), "")
    texts = [text for one in phrases for text in one.texts]
    return book.joined(TitleBook.of(texts, pa.array([locale] * len(texts), pa.string()), book.tokenizers))


def learn_editor(
    book: TitleBook, folds: Sequence[EditFold], everything: tuple[Ragged, Ints], settings: EditSettings
) -> tuple[Editor, list[list[Scored]]]:
    """Learn from folds.

    Args:
        book: Titles, of one tokenizer.
        folds: The folds.
        everything: Titles and targets of the sessions that may be counted for new ones.
        settings: Settings.

    Returns:
        The editor, and what it says of each fold without having learnt from it.
    """
    counts = [count(book, *fold.taught) for fold in folds]
    phrases = None
    told = [fold.told for fold in folds if fold.told is not None]
    if len(told) < len(folds):
        phrases = learn_phrases(book, *everything, settings.phrases)
        some = [learn_phrases(book, *fold.taught, settings.phrases) for fold in folds]
        firsts = (len(book) + np.cumsum([0, *(len(one.texts) for one in some)])).tolist()
        book = with_phrases(book, some, next((str(one) for one in book.ways(everything[1]) if one), PAPER_BLEU))
        told = [
            one.told(book, fold.own, first, settings.told)
            for one, first, fold in zip(some, firsts, folds, strict=False)
        ]
    drawn = [
        _drawn(book, fold, said, known, settings, place)
        for place, (fold, said, known) in enumerate(zip(folds, told, counts, strict=True))
    ]
    networks, judged = [], []
    for place in track(range(len(folds)), "edit model", len(folds)):
        others = [one for other, one in enumerate(drawn) if other != place]
        features, wanted = (np.concatenate(column) for column in zip(*others, strict=True))
        networks.append(learn(features, wanted, settings.epochs, settings.rate, settings.seed + place))
        teaching = (settings, counts[place], networks[-1:])
        judged.append([_scored(book, *chunk, *teaching) for chunk in _chunks(folds[place].own, told[place])])
    parts = [
        (one, fold.targets[one.start :][: one.number]) for fold, some in zip(folds, judged, strict=True) for one in some
    ]
    found, cost, estimate = _priced(book, parts, settings)
    each = sum(len(fold.taught[1]) for fold in folds) / len(folds)
    known = replace(count(book, *everything), scale=min(1.0, each / max(1, len(everything[1]))))
    return Editor(settings, known, phrases, tuple(networks), found, cost, estimate), judged


def _pieces(own: Ragged, told: Told, settings: EditSettings) -> Pieces:
    best = best_within(told.rows, told.weights, settings.told) if len(told.rows) else np.zeros(0, np.int64)
    best = best[np.lexsort((-told.weights[best], told.rows[best]))]
    titles = told.titles[best]
    return recent_pieces(own, settings.k).joined(
        Pieces(told.rows[best], titles, np.full(len(best), -1), told.weights[best])
    )


def _chunks(own: Ragged, told: Told) -> Iterator[tuple[int, Ragged, Told]]:
    for start in range(0, len(own), CHUNK):
        some = own.slice(start, CHUNK)
        yield start, some, told.slice(start, len(some))


def _evidence(told: Told) -> Any:
    return (told.rows, told.titles, told.weights) if len(told.rows) else None


def _drawn(
    book: TitleBook, fold: EditFold, told: Told, counts: Counts, settings: EditSettings, place: int
) -> tuple[Floats, Floats]:
    """Features and labels of n-grams of a fold's sessions, drawn where there are too many."""
    rng = np.random.default_rng([settings.seed, place])
    parts = []
    chunks = list(_chunks(fold.own, told))
    share = settings.examples // max(1, settings.folds - 1) // max(1, len(chunks))
    for start, some, said in chunks:
        grams, features = describe(book, some, _pieces(some, said, settings), counts, _evidence(said))
        kept = np.sort(rng.permutation(len(features))[:share])
        wanted = labels(book, grams, fold.targets[start : start + len(some)])
        parts.append((features[kept], wanted[kept]))
    features, wanted = (np.concatenate(column) for column in zip(*parts, strict=True))
    return features, wanted


def _scored(
    book: TitleBook,
    start: int,
    own: Ragged,
    told: Told,
    settings: EditSettings,
    counts: Counts,
    networks: Sequence[Network],
) -> Scored:
    pieces = _pieces(own, told, settings)
    grams, features = describe(book, own, pieces, counts, _evidence(told))
    odds: Floats = np.stack([network.odds(features) for network in networks]).mean(axis=0)
    values = by_start(grams.orders, grams.starts, odds, int(book.lengths[pieces.titles].sum()))
    return Scored(start, len(own), pieces, grams.keys, odds, values)


def _stats(
    book: TitleBook, parts: Sequence[tuple[Scored, Ints]], found: NDArray[np.float64], cost: float
) -> NDArray[np.float64]:
    """BLEU's statistics of titles at a price, shape ``(S, 10)``."""
    return np.concatenate([_statistics(book, one.written(book, found, cost).tokens, targets) for one, targets in parts])


def _statistics(book: TitleBook, written: Ragged, targets: Ints) -> NDArray[np.float64]:
    number = len(targets)
    known = np.flatnonzero(targets != NO_TITLE)
    asked = book.tokens.take(targets[known])
    both = replace(book, texts=pa.nulls(number + len(known), pa.string()), tokens=Ragged.joined([written, asked]))
    here = np.arange(number)
    matches = agreement(both, here, here, known, number + np.arange(len(known)), np.ones(len(known)))
    lengths = np.zeros(number, dtype=np.int64)
    lengths[known] = book.lengths[targets[known]]
    return np.column_stack([matches, lengths_by_order(written.lengths), written.lengths, lengths])


def _priced(book: TitleBook, parts: Any, settings: EditSettings) -> tuple[NDArray[np.float64], float, dict[str, Any]]:
    """What n-grams are worth and a word costs where BLEU is highest; and the gain over the last title."""
    last = _stats(book, parts, np.ones(ORDERS), np.inf)
    best, found, cost, stats = float(bleu_from_stats(last.sum(axis=0))), np.ones(ORDERS), np.inf, last
    centre, width = 0.75, 0.5
    for _ in range(_SETTLING):
        sums = np.maximum(stats.sum(axis=0) / len(stats), 1 / len(stats))
        worth, word = 1 / (ORDERS * sums[:ORDERS]), float((1 / (ORDERS * sums[ORDERS : 2 * ORDERS])).sum())
        scores = []
        for share in centre + width * _COSTS:
            tried = _stats(book, parts, worth, share * word)
            scores.append((float(bleu_from_stats(tried.sum(axis=0))), share))
            if scores[-1][0] > best:
                best, found, cost, stats = scores[-1][0], worth, share * word, tried
        centre, width = max(scores)[1], width * 0.4
    gain = difference_of(stats, last, seed=settings.seed)
    estimate = {
        "sessions": len(stats),
        "bleu": best,
        "last_title": float(bleu_from_stats(last.sum(axis=0))),
        "gain": [gain.difference, gain.low, gain.high],
        "length_ratio": float(stats[:, 8].sum() / max(1.0, stats[:, 9].sum())),
    }
    return found, (cost if gain.low > 0 else np.inf), estimate
