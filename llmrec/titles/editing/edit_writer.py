"""The edit model as what writes titles: learnt from labelled sessions, asked, saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from llmrec.arrays import Ints
from llmrec.artefact import Kind, Stamp
from llmrec.console import notice
from llmrec.data.holdout import groups_of_sequences
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bleu import tokenize_title
from llmrec.hub.pull import named_source
from llmrec.languages import PAPER_BLEU
from llmrec.ragged import Ragged, offsets_of
from llmrec.records import Digest, record_text
from llmrec.text.ngrams import TitleBook
from llmrec.titles.editing.editor import EditFold, Editor, EditSettings, learn_editor, with_phrases
from llmrec.titles.editing.kept_words import word_tokenizer
from llmrec.titles.editing.saved import editor_arrays, editor_of
from llmrec.titles.models.card import decide_card
from llmrec.titles.title_writer import History, Titles, TitleWriter, check_at_least_1

__all__ = ["EDIT", "HISTORY", "EditWriter", "learn_edit_writer", "opened_writer"]

HISTORY: Final = 10  # most recent titles that are looked at; words are kept of the K last ones


class _Way(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    phrases: tuple[str, ...]
    estimate: dict[str, Any]


class _Record(Stamp, frozen=True, kw_only=True):
    settings: dict[str, Any]
    ways: dict[str, _Way]
    arrays_sha256: Digest


EDIT: Final = Kind(
    what="edit model",
    record="edit.json",
    holds=_Record,
    make="learn one: llmrec generate --data STORE --recipe edit",
    again="learn it again: llmrec generate --recipe edit",
)


class EditWriter(TitleWriter):
    """Keeps and drops words of the K last titles, and puts learnt phrases in; a `TitleWriter` that takes seconds.

    LaserTagger (Malmi et al. 2019) and EdiT5 (Mallinson et al. 2022) tag words so; here no tag is right or wrong by
    itself, and those are chosen that are expected to give the highest BLEU.

    Attributes:
        editors: By tokenizer of words; a locale whose tokenizer it has not learnt keeps the last title.
        settings: Settings.
    """

    def __init__(self, editors: Mapping[str, Editor], settings: EditSettings, name: str = "edit model") -> None:
        self.editors, self.settings, self._name = dict(editors), settings, name
        self._stamp: Mapping[str, Any] = {}
        self.card, self.prompt = decide_card(None, None, False, {"k": settings.k})
        self.model = None

    @property
    def history(self) -> int:
        """Number of most recent titled products that it looks at: more than words are kept of."""
        return HISTORY

    @staticmethod
    def tokenizer(text: str) -> dict[str, list[str]]:
        """Words of a text, in the place of a model's tokens."""
        return {"input_ids": tokenize_title(text)}

    def write(
        self,
        histories: Sequence[History],
        locale: str | Sequence[str],
        *,
        num_beams: int = 1,
        batch_size: int = 32,
    ) -> Titles:
        """Write the next title of each session; as `TitleWriter.write`. Beams and batches change nothing."""
        check_at_least_1({"num_beams": num_beams, "batch_size": batch_size})
        sessions = self._sessions(histories, locale, HISTORY)
        titles = self.edited(
            [[one["title"] for one in titled] for _, titled in sessions], [shop for shop, _ in sessions]
        )
        made_by = {"model": self._name, "settings": asdict(self.settings), **self._stamp}
        return Titles(titles, [shop for shop, _ in sessions], made_by)

    def stream(self, history: History, locale: str) -> Iterator[str]:
        """The title in one piece; as `TitleWriter.stream`."""
        yield self.write([history], locale)[0]

    def edited(self, titles: Sequence[Sequence[str]], locales: Sequence[str]) -> list[str]:
        """Next titles of ``S`` sessions, of their titles (oldest first, none empty) and locales; "" without a title."""
        written = [some[-1] if some else "" for some in titles]
        ways = [word_tokenizer(one) for one in locales]
        for way, editor in self.editors.items():
            rows = [row for row, one in enumerate(ways) if one == way]
            if not rows or not np.isfinite(editor.cost):
                continue
            book, own = _book([titles[row][-HISTORY:] for row in rows], [locales[row] for row in rows], way)
            book = with_phrases(book, [] if editor.phrases is None else [editor.phrases], way)
            for row, text in zip(rows, _texts(editor, book, own, way), strict=True):
                written[row] = text or written[row]
        return written

    def save(self, folder: Path | str) -> None:
        """Write counts, phrases, weights and prices."""
        arrays: dict[str, NDArray[Any]] = {}
        ways: dict[str, Any] = {}
        for place, (way, editor) in enumerate(self.editors.items()):
            own = editor_arrays(editor)
            arrays |= {f"{place}/{name}": array for name, array in own.items()}
            phrases = editor.phrases.texts if editor.phrases else ()
            ways[way] = {"phrases": list(phrases), "estimate": editor.estimate}
        with EDIT.written(Path(folder), {"settings": asdict(self.settings), "ways": ways}, arrays) as temporary:
            (temporary / "llmrec.json").write_text(record_text(self.card), encoding="utf-8")

    @classmethod
    def opened(cls, folder: Path, name: str | None = None) -> Self:
        """Read what `save` wrote.

        Raises:
            ModelError: nothing of this kind is there, it is of another version, or damaged.
        """
        record = EDIT.read(folder)
        arrays = EDIT.read_arrays(folder, record)
        with EDIT.understood(folder):
            settings = msgspec.convert(record.settings, EditSettings)
            if not (1 <= settings.k <= HISTORY and 0 <= settings.told <= 1_000):
                raise ValueError(f"settings are {record.settings}")
            editors = {}
            for place, (way, told) in enumerate(record.ways.items()):
                prefix = f"{place}/"
                own = {key.removeprefix(prefix): one for key, one in arrays.items() if key.startswith(prefix)}
                editors[way] = editor_of(own, settings, told.phrases, told.estimate)
            return cls(editors, settings, name or folder.name)


def opened_writer(model: str, asked: Sequence[str] = ()) -> EditWriter:
    """The edit model in a folder; ``asked`` are arguments that only other models have.

    Raises:
        ConfigError: there are such.
        ModelError: it cannot be read.
    """
    if asked:
        raise ConfigError(f"{', '.join(asked)}: {model} is an edit model, which reads titles alone; leave that out")
    return EditWriter.opened(Path(model), named_source(Path(model)) or Path(model).name)


def learn_edit_writer(
    titles: Sequence[Sequence[str]], targets: Sequence[str | None], locales: Sequence[str], settings: EditSettings
) -> EditWriter:
    """Learn from labelled sessions.

    Args:
        titles: Titles of ``S`` sessions, oldest first.
        targets: ``S`` next titles; a session without one teaches nothing.
        locales: ``S`` locales.
        settings: Settings.

    Raises:
        DataError: there are fewer sessions than folds that have both.
    """
    ways = [word_tokenizer(one) for one in locales]
    known = [row for row, target in enumerate(targets) if target and titles[row]]
    editors = {}
    for way in sorted({ways[row] for row in known}, key=lambda one: (one != PAPER_BLEU, one)):
        rows = [row for row in known if ways[row] == way]
        histories = [list(titles[row][-HISTORY:]) for row in rows]
        whole = [(*some, targets[row]) for some, row in zip(histories, rows, strict=True)]
        groups = groups_of_sequences(whole, [locales[row] for row in rows], HISTORY)
        folds = _folds(groups, settings)
        if len(folds) < 2:
            notice(f"edit model: too few sessions whose words are told apart by {way}; the last title stays there")
            continue
        book, every = _book([list(some) for some in whole], [locales[row] for row in rows], way)  # type: ignore[arg-type]
        own, goals = every.without_last(), every.ends
        parts = [EditFold(own.take(few), goals[few], (own.take(rest), goals[rest])) for few, rest in folds]
        editors[way], _ = learn_editor(book, parts, (own, goals), settings)
        notice(_line(way, editors[way].estimate))
    if not editors:
        raise DataError("too few labelled sessions to learn from: an edit model needs two histories with next titles")
    return EditWriter(editors, settings)


def _folds(groups: Ints, settings: EditSettings) -> list[tuple[Ints, Ints]]:
    """Sessions of each fold and of all others; sessions that continue one another are in one."""
    _, numbers = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(settings.seed).permutation(int(numbers.max(initial=0)) + 1)[numbers] % settings.folds
    return [(np.flatnonzero(drawn == one), np.flatnonzero(drawn != one)) for one in np.unique(drawn)]


def _line(way: str, estimate: Mapping[str, Any]) -> str:
    difference, low, high = estimate["gain"]
    return (
        f"edit model, by {way}, out of fold, {estimate['sessions']:,} sessions: BLEU {estimate['bleu']:.2f}, "
        f"last title {estimate['last_title']:.2f}, gain {difference:+.2f} [{low:+.2f}, {high:+.2f}]"
    )


def _book(titles: Sequence[Sequence[str]], locales: Sequence[str], way: str) -> tuple[TitleBook, Ragged]:
    """A book of the titles of some sessions, and which are whose."""
    keys = [(shop, title) for some, shop in zip(titles, locales, strict=True) for title in some]
    distinct = dict.fromkeys(keys)
    places = {key: place for place, key in enumerate(distinct)}
    shops = pa.array([shop for shop, _ in distinct], pa.string())
    tokenizers = {} if way == PAPER_BLEU else dict.fromkeys(locales, way)
    book = TitleBook.of([title for _, title in distinct], shops, tokenizers)
    values = np.array([places[key] for key in keys], dtype=np.int64)
    return book, Ragged(offsets_of([len(some) for some in titles]), values)


def _texts(editor: Editor, book: TitleBook, own: Ragged, way: str) -> list[str]:
    parts = (one.written(book, editor.found, editor.cost) for one in editor.score(book, own))
    return [text for part in parts for text in part.texts(book, way)]
