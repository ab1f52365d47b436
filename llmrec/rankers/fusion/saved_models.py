"""The models that a saved fusion is made of: sources and scorers, each in a folder, each known by its fingerprint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.artefact import ARRAYS
from llmrec.errors import ModelError
from llmrec.files import sha256_of
from llmrec.rankers.base import Ranker
from llmrec.rankers.catalogue import Catalogue
from llmrec.rankers.fusion.deciding.decisions import Decision
from llmrec.rankers.fusion.scorers import Scorer, load_scorer
from llmrec.rankers.ranker_record import RANKER
from llmrec.rankers.registry import load_ranker
from llmrec.records import Digest, read_record, record_text

__all__ = ["SCORERS", "SOURCES", "read_report", "read_scorers", "read_sources", "write_parts"]

SOURCES: Final = "sources"  # a folder of models, and with .json their fingerprints by name
SCORERS: Final = "scorers"


class _Report(msgspec.Struct, frozen=True):
    estimate: dict[str, float] = msgspec.field(default_factory=dict)
    decisions: tuple[Decision, ...] = ()


def write_parts(folder: Path, kind: str, models: Mapping[str, Ranker[Any] | Scorer]) -> None:
    """Write models and their fingerprints; ``kind`` is `SOURCES` or `SCORERS`."""
    prints = {}
    for place, (name, model) in enumerate(models.items()):
        held = folder / kind / str(place)
        model.save(held)
        prints[name] = sha256_of(held / ARRAYS)
    (folder / f"{kind}.json").write_text(record_text(prints), encoding="utf-8")


def read_sources(folder: Path, catalogue: Catalogue) -> dict[str, Ranker[Any]]:
    """Read the sources, which share a catalogue.

    Raises:
        ModelError: one is missing, or another than was written, or there is none.
    """
    sources = {}
    for name, held in _parts(folder, SOURCES):
        source = load_ranker(held)
        own = source.catalogue
        if own.locales != catalogue.locales or not own.vocabulary.ids.equals(catalogue.vocabulary.ids):
            raise ModelError(f"{held}: '{name}' ranks other items than the fusion; fit it again with --save")
        source.catalogue = catalogue  # the same; one copy is enough
        sources[name] = source
    if not sources:
        raise ModelError(f"{folder / SOURCES}.json: names no source; fit it again with --save")
    return sources


def read_scorers(folder: Path, catalogue: Catalogue) -> dict[str, Scorer]:
    """Read the scorers; errors as `read_sources`, but there may be none."""
    return {name: load_scorer(name, held, catalogue) for name, held in _parts(folder, SCORERS)}


def read_report(report: Path) -> tuple[dict[str, float], tuple[Decision, ...]]:
    """The estimate and the decisions that a report of importances holds; empty where there is no such file.

    Raises:
        ModelError: it is damaged.
    """
    if not report.is_file():
        return {}, ()
    held = read_record(report, _Report, f"remove it, or {RANKER.again}", error=ModelError)
    return held.estimate, held.decisions


def _parts(folder: Path, kind: str) -> Iterator[tuple[str, Path]]:
    what, file = kind.removesuffix("s"), folder / f"{kind}.json"
    prints = read_record(file, dict[str, Digest], RANKER.again, error=ModelError)
    for place, (name, fingerprint) in enumerate(prints.items()):
        held = folder / kind / str(place)
        if not (held / ARRAYS).is_file():
            raise ModelError(f"{held}: the model of the {what} '{name}' is missing; fit it again with --save")
        if sha256_of(held / ARRAYS) != fingerprint:
            raise ModelError(f"{held}: not the '{name}' that the trees were fitted with; fit it again with --save")
        yield name, held
