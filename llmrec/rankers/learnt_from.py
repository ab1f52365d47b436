"""What a fitted ranker learnt from, kept beside it, so that later sessions can join them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, NamedTuple

import msgspec
import numpy as np

from llmrec.arrays import checked
from llmrec.artefact import Arrays, Kind, Stamp
from llmrec.console import notice
from llmrec.errors import ModelError
from llmrec.ragged import offsets_of
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.ranker_record import RANKER
from llmrec.rankers.sessions import CodedSessions, Origin, TrainingSessions
from llmrec.records import Count, Digest
from llmrec.vocabulary import Vocabulary

__all__ = ["DATE", "Batch", "LearntFrom", "Remembers", "Saved", "now"]

_COUNTS: Final = "counts."  # before the names of a ranker's own arrays
DATE: Final = "%Y-%m-%dT%H:%M:%SZ"


def now() -> str:
    """The time, as ISO 8601 in UTC."""
    return datetime.now(UTC).strftime(DATE)


class Batch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sessions that were learnt at one time.

    Attributes:
        date: When, as ISO 8601 in UTC.
        sessions: Their number.
        weight: How much each counts: 1 until it fades.
        origins: Where they came from.
    """

    date: Annotated[str, msgspec.Meta(pattern=r"\A\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")]
    sessions: Count
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)]
    origins: tuple[Origin, ...]

    @classmethod
    def of(cls, training: TrainingSessions, date: str | None = None) -> Batch:
        """A batch of sessions that are learnt now, or on a ``date``."""
        return cls(date=date or now(), sessions=len(training), weight=1.0, origins=training.origins())


class _Record(Stamp, frozen=True, kw_only=True):
    ranker_sha256: Digest
    batches: tuple[Batch, ...]


_KIND: Final = Kind(
    what="learnt sessions",
    record="learnt_from.json",
    arrays="learnt_from.safetensors",
    holds=_Record,
    make="an update needs the sessions that it was fitted on: fit it anew with --save",
    again="fit the ranker anew with --save",
)


@dataclass(frozen=True)
class LearntFrom:
    """What a ranker learnt from, kept beside it; ranking does not read it.

    Attributes:
        batches: In the order of learning.
        sessions: All of them as codes of the ranker's catalogue; None for a ranker that goes on from what it learnt.
        counts: What was counted in them, to which later sessions' counts are added; none where all are counted anew.
    """

    batches: tuple[Batch, ...]
    sessions: CodedSessions | None
    counts: Arrays = field(default_factory=dict)

    @property
    def weighed(self) -> CodedSessions | None:
        """`sessions`, with the weights of their batches."""
        if self.sessions is None or all(batch.weight == 1 for batch in self.batches):
            return self.sessions
        sizes = [batch.sessions for batch in self.batches]
        return replace(self.sessions, weights=np.repeat([batch.weight for batch in self.batches], sizes))

    def repeated(self, origins: Sequence[Origin]) -> Origin | None:
        """The first of some origins that was learnt from already."""
        known = {one.fingerprint for batch in self.batches for one in batch.origins}
        return next((one for one in origins if one.fingerprint in known), None)

    def put(self, folder: Path) -> None:
        """Write it into the folder of a ranker that is being made."""
        record = {"ranker_sha256": RANKER.read(folder).arrays_sha256, "batches": self.batches}
        if self.sessions is None:
            _KIND.put(folder, record)
            return
        arrays: Arrays = {
            "items": self.sessions.items.astype(np.int32),
            "lengths": self.sessions.lengths.astype(np.int32),
            "locales": self.sessions.locales.astype(np.int32),
            "labelled": np.packbits(self.sessions.with_label),
            **{f"{_COUNTS}{name}": array for name, array in self.counts.items()},
        }
        _KIND.put(folder, record, arrays)

    @classmethod
    def read(cls, saved: Saved, ranker: Remembers) -> LearntFrom:
        """Read what `put` wrote beside a ranker.

        Raises:
            ModelError: there is none (an older version wrote the folder), it is damaged, or another ranker's.
        """
        folder, num_items, num_locales = saved.folder, len(ranker.catalogue.vocabulary), len(ranker.catalogue.locales)
        record = _KIND.read(folder)
        if record.ranker_sha256 != saved.arrays_sha256:
            raise ModelError(f"{folder / _KIND.record}: of another ranker than was loaded; load it again")
        if record.arrays_sha256 is None:
            return cls(record.batches, None)
        arrays = _KIND.read_arrays(folder, record)
        with _KIND.understood(folder):
            number = sum(batch.sessions for batch in record.batches)
            lengths = checked(arrays, "lengths", "int32", (number,), least=0)
            items = checked(arrays, "items", "int32", (int(lengths.sum()),), least=0, most=num_items - 1)
            locales = checked(arrays, "locales", "int32", (number,), least=0, most=num_locales - 1)
            labelled = checked(arrays, "labelled", "uint8", ((number + 7) // 8,))
            held = CodedSessions(
                offsets_of(lengths), items, locales, np.unpackbits(labelled, count=number).view(np.bool_)
            )
            counts = {name.removeprefix(_COUNTS): one for name, one in arrays.items() if name.startswith(_COUNTS)}
            if counts:
                ranker.check_counts(counts)
        return cls(record.batches, held, counts)


class Saved(NamedTuple):
    """Where a ranker was read from, and the checksum of its arrays."""

    folder: Path
    arrays_sha256: str


class Remembers:
    """A ranker that can say what it learnt from.

    Attributes:
        learnt_from: That, or where it is; None for one that was fitted on codes.
        kept_counts: What `LearntFrom.counts` shall hold; left there by what learns, and taken from there.
    """

    name: ClassVar[str]
    goes_on: ClassVar[bool]
    catalogue: Catalogue
    learnt_from: LearntFrom | Saved | None = None
    kept_counts: Arrays | None = None

    def known_sessions(self) -> LearntFrom:
        """What it learnt from, read where it was not yet.

        Raises:
            ModelError: nobody kept it, or it is damaged.
        """
        if isinstance(self.learnt_from, Saved):
            self.learnt_from = LearntFrom.read(self.learnt_from, self)
        if self.learnt_from is None:
            reason = "was fitted on codes and keeps no sessions" if hasattr(self, "catalogue") else "is not fitted"
            raise ModelError(f"{self.name}: {reason}; fit it on sessions first")
        return self.learnt_from

    def check_counts(self, counts: Arrays) -> None:
        """Refuse counts of a file that are none of this ranker's.

        Args:
            counts: Arrays by name, as the ranker left them in `kept_counts` when it was fitted.

        Raises:
            KeyError: an array is missing.
            ValueError: they do not fit together.
        """
        raise ValueError(f"{self.name} keeps no {', '.join(counts)}")

    def _remembered(self, batches: Sequence[Batch], coded: CodedSessions, vocabulary: Vocabulary) -> LearntFrom:
        """What was learnt, the sessions as codes of a vocabulary that may have grown in `_fit`."""
        if self.goes_on:
            return LearntFrom(tuple(batches), None)
        grown, items = self.catalogue.vocabulary, coded.items
        if grown is not vocabulary:
            items = grown.encode(vocabulary.ids)[items]
        half: dict[str, Any] = {"values": items.astype(np.int32), "locales": coded.locales.astype(np.int32)}
        counts, self.kept_counts = self.kept_counts or {}, None
        return LearntFrom(tuple(batches), replace(coded, weights=None, **half), counts)  # in half the memory

    def _put_sessions(self, folder: Path) -> None:
        """Write what is known into the folder of the ranker, which is being made."""
        held = self.learnt_from
        if held is None or (isinstance(held, Saved) and not _KIND.is_at(held.folder)):
            return
        try:
            self.known_sessions().put(folder)
        except ModelError as error:
            notice(f"the sessions that it learnt from are not saved with it: {error}")
