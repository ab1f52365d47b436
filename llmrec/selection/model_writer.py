"""A language model beside the selector: titles that it writes may come next, and it says how likely offers are."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.console import notice, track
from llmrec.errors import ConfigError, DataError, ModelError, nearest, require
from llmrec.ragged import Ragged
from llmrec.selection.offers import GivenTitles, Offers
from llmrec.selection.settings import WRITERS, SelectSettings
from llmrec.text.ngrams import NO_TITLE, TitleBook
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.cache import AnswerCache, cache_key
from llmrec.within import best_within

__all__ = ["ModelWriter", "model_writer"]

Floats = NDArray[np.float64]
_DECIMALS: Final = 3  # of a log-probability: a batch adds up in another order than a text alone
_WRITTEN_AT_ONCE: Final = 32  # sessions after which what was written is kept
_TRIED: Final = 4  # sessions that are timed before the others are asked
_K: Final = 3  # most recent titles that a model without a card is shown


def model_writer(settings: SelectSettings) -> ModelWriter | None:
    """The model among the writers; None where there is none. It is loaded when it is asked.

    Raises:
        ConfigError: a writer is neither `edit` nor a model, or there are two models.
    """
    names = [name for name in settings.writers if name not in WRITERS]
    for name in names:
        if not (Path(name).exists() or "/" in name or name.endswith(".gguf")):
            raise ConfigError(
                f"select: 'writers' names '{name}', which is no model's folder, GGUF file or hub name"
                f"{nearest(name, WRITERS)}"
            )
    if len(names) > 1:
        raise ConfigError(f"select: two models as writers ({' and '.join(names[:2])}); name one")
    if not names or not (settings.samples or settings.scored):
        return None
    require("torch", "generate")
    from llmrec.titles.models.model import model_digest

    return ModelWriter(names[0], settings, model_digest(names[0]))


@dataclass(frozen=True)
class ModelWriter:
    """What a model says of sessions. It learns nothing here.

    Attributes:
        name: Folder, GGUF file or hub name.
        settings: How much it is asked.
        weights: Names its weights.
        answers: Keeps what it said, so that a killed process loses little; None keeps nothing.
    """

    name: str
    settings: SelectSettings
    weights: str
    answers: AnswerCache | None = None

    @cached_property
    def _opened(self) -> _Opened:
        from llmrec.text.prompts import load_prompt
        from llmrec.titles.decoding.likelihood import takes_shared_rows
        from llmrec.titles.lab.local import load_local
        from llmrec.titles.models.model import model_digest, read_model_card
        from llmrec.titles.models.precision import in_precision

        if model_digest(self.name) != self.weights:
            raise ModelError(
                f"{self.name}: not the model that the selector was learnt with; put that one there, or learn it again"
            )
        card = read_model_card(self.name)
        prompt = load_prompt(card.prompt if card else "instruct")
        if prompt.fields != ("title",):
            raise ConfigError(f"select: {self.name} reads {', '.join(prompt.fields)}; a writer here reads titles alone")
        loaded = load_local(self.name)
        shared = takes_shared_rows(loaded.model)
        in_precision(loaded.model, self.settings.writer_precision)
        return _Opened(loaded, prompt, card.k if card else _K, shared, card is not None)

    def open(self) -> None:
        """Load the model, so that what is wrong with it is told before anything is learnt.

        Raises:
            ConfigError: it reads more than titles, or has no room for a prompt.
            ModelError: it cannot be loaded, or is another one than was learnt with.
        """
        _ = self._opened

    def foretell(self, book: TitleBook, own: Sequence[Ragged]) -> None:
        """Time some sessions, and say how long all ``own`` will take."""
        count = sum(map(len, own))
        some = own[0].take(np.arange(min(_TRIED, len(own[0])))) if own else None
        if some is None or not len(some) or not len(some.values):
            return
        if self._opened.trained:
            notice(
                f"select: {self.name} was trained on titles; where these sessions were among them, what is told of "
                "them out of fold is too good"
            )
        started = time.perf_counter()
        self.sampled(book, some, kept=False)
        rows = np.repeat(np.arange(len(some)), self.settings.scored)
        titles = np.random.default_rng(0).integers(0, len(book), len(rows))
        none = np.zeros(len(rows))
        self.log_probs(book, some, Offers(rows, titles, none, none, none, none), none, kept=False)
        each = (time.perf_counter() - started) / len(some)
        notice(
            f"select: {Path(self.name).name} writes {self.settings.samples} titles and reads {self.settings.scored} "
            f"for each of {count:,} sessions, about {each:.2g} s each: {max(1, round(each * count / 60)):,} min; "
            "fewer by samples, scored and max_sessions"
        )

    def sampled(self, book: TitleBook, own: Ragged, *, kept: bool = True) -> tuple[TitleBook, list[GivenTitles]]:
        """A book with what it writes for sessions behind its titles, and these as what may come next.

        Args:
            book: Titles.
            own: Titles of ``S`` sessions, oldest first; those of one without a title are not asked for.
            kept: Whether answers of before are taken.
        """
        from llmrec.titles.decoding.sampling import sample_titles

        if not self.settings.samples:
            return book, []
        opened, rows, prompts = self._prompts(book, own)
        loaded = opened.loaded

        def write(some: Sequence[int]) -> list[list[Any]]:
            return sample_titles(
                loaded.model,
                loaded.tokenizer,
                [prompts[place] for place in some],
                self.settings.samples,
                answers=loaded.affixes is not None and not opened.trained,
                max_tokens=loaded.max_target_tokens,
            )

        told = [{"samples": self.settings.samples, "prompt": [*prompt]} for prompt in prompts]
        written = self._said(told, write, _WRITTEN_AT_ONCE, str, kept)
        said = [(row, text) for row, texts in zip(rows.tolist(), written, strict=True) for text in texts if text]
        owners = np.array([row for row, _ in said], dtype=np.int64)
        shops = book.locales.take(pa.array(own.ends[owners]))
        new = TitleBook.of([text for _, text in said], shops, book.tokenizers)
        weights = 1 / np.bincount(owners, minlength=len(own)).clip(1)[owners]
        titles = np.arange(len(said)) + len(book)
        return book.joined(new), [GivenTitles(owners, titles, weights, np.ones(len(said)))]

    def log_probs(self, book: TitleBook, own: Ragged, offers: Offers, value: Floats, *, kept: bool = True) -> Floats:
        """Mean log-probability of the tokens of each session's best offers and last title, ``(C,)``; NaN elsewhere.

        Args:
            book: Titles; edited ones are not read, for those of a fold have no text.
            own: Titles of ``S`` sessions, oldest first.
            offers: Titles that can be chosen, ``C``.
            value: Shape ``(C,)``; what makes them the best.
            kept: Whether answers of before are taken.
        """
        from llmrec.titles.decoding.likelihood import log_probs, title_questions

        found = np.full(len(offers), np.nan)
        if not self.settings.scored or not len(offers):
            return found
        plain = np.flatnonzero(offers.written == 0)
        best = np.where(offers.age == 0, np.inf, value)[plain]
        wanted = plain[best_within(offers.rows[plain], best, self.settings.scored)]
        opened, rows, prompts = self._prompts(book, own)
        model, encoder = opened.loaded.model, opened.encoder
        for row, prompt in track(list(zip(rows.tolist(), prompts, strict=True)), "log-probabilities", len(rows)):
            places = wanted[offers.rows[wanted] == row]
            if not len(places):
                continue
            titles = book.texts.take(pa.array(offers.titles[places])).to_pylist()
            asked = title_questions(encoder, prompt, titles, opened.loaded.max_target_tokens)

            def read(_: Sequence[int], asked: Any = asked) -> list[list[Any]]:
                reads = log_probs(model, [asked], shared=opened.shared)[0]
                return [[round(sum(one) / len(one), _DECIMALS) for one in reads]]

            told = {"prompt": [*prompt], "titles": [[*one.given] for one in asked]}
            (found[places],) = self._said([told], read, 1, float, kept)
        return found

    def _said(
        self,
        asked: Sequence[dict[str, Any]],
        answer: Callable[[Sequence[int]], list[list[Any]]],
        at_once: int,
        kind: type,
        kept: bool,
    ) -> list[list[Any]]:
        """What the model says to each question: what is kept of it, or what ``answer`` gives for their places.

        Raises:
            DataError: what is kept is damaged.
        """
        if self.answers is None or not kept:
            return answer(range(len(asked)))
        told = {
            "weights": self.weights,
            "precision": self.settings.writer_precision,
            "tokens": self._opened.loaded.max_target_tokens,
        }
        keys = [cache_key(told | one) for one in asked]
        said = {key: _parsed(one.text, kind) for key, one in self.answers.read(keys).items()}
        missing = [place for place, key in enumerate(keys) if key not in said]
        for start in range(0, len(missing), at_once):
            some = missing[start : start + at_once]
            new = {keys[place]: one for place, one in zip(some, answer(some), strict=True)}
            self.answers.add({key: Answer(json.dumps(one), None, None, 0.0) for key, one in new.items()})
            said |= new
        return [said[key] for key in keys]

    def _prompts(self, book: TitleBook, own: Ragged) -> tuple[_Opened, NDArray[np.int64], list[list[int]]]:
        """The model, the sessions that have a title, and their prompts."""
        from llmrec.titles.prompting.prompt_tokens import encode_prompts

        opened = self._opened
        rows = np.flatnonzero(own.ends != NO_TITLE)
        kept = own.take(rows).last(opened.k)
        texts = iter(book.texts.take(pa.array(kept.values)).to_pylist())
        shown = [[{"title": next(texts)} for _ in range(length)] for length in kept.lengths.tolist()]
        locales = book.locales.take(pa.array(kept.ends)).to_pylist()
        sessions = list(zip(locales, shown, strict=True))
        return opened, rows, encode_prompts(opened.prompt, opened.encoder, sessions, opened.loaded.max_source_tokens)[1]


def _parsed(text: str, kind: type) -> list[Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list) or not all(isinstance(one, kind) for one in values):
        raise DataError("the answers beside --out are damaged; give the command again with --overwrite")
    return values


@dataclass(frozen=True)
class _Opened:
    """A loaded model, its prompt, K, whether texts that start alike share rows, whether it was trained on titles."""

    loaded: Any
    prompt: Any
    k: int
    shared: bool
    trained: bool

    @cached_property
    def encoder(self) -> Any:
        from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

        return TitleTokenizer(self.loaded.tokenizer, self.loaded.affixes)
