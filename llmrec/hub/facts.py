"""What a folder that is to be shared says of itself, and the results that were found out about it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.errors import ConfigError, LlmrecError
from llmrec.evaluation.results import Result, read_result, refuse_partial
from llmrec.hub.forms import Form

__all__ = ["ADAPTER", "Facts", "facts_of", "is_hub_name", "results_of"]

_KINDS: Final = {"a title model": "titles", "a title selector": "titles"}
_RANKERS: Final = ("a ranker", "a ranker for each locale")
ADAPTER: Final = "adapter_config.json"


@dataclass(frozen=True)
class Facts:
    """What a folder says.

    Attributes:
        name: What it is called among its like: ``covisit``, ``tfidf-svd``, ``mt5``.
        settings: How it was made.
        locales: Whose products it knows, where it says so.
        base: Model that its weights began as, where it says so.
        made: Provenance, where the folder holds it.
        notes: Further sentences about it.
    """

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    locales: tuple[str, ...] = ()
    base: str | None = None
    made: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def facts_of(form: Form, folder: Path) -> Facts:
    """Read what a folder says of itself.

    Raises:
        ConfigError: its record cannot be read.
    """
    try:
        return _READERS.get(form.record, _of_other)(folder)
    except (OSError, msgspec.DecodeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"{folder / form.record}: damaged; make it again, then share it") from error


def results_of(form: Form, folder: Path, facts: Facts, given: Sequence[Path | Result]) -> list[Result]:
    """Results that the card shows: those given, else those that stand beside the folder and are of it.

    Raises:
        ConfigError: a given result is partial, or of something else.
        DataError: a given file is no result.
    """
    results = [one if isinstance(one, Result) else read_result(Path(one)) for one in given]
    for one in results:
        refuse_partial(one)
        if (why := _foreign(form, facts, one)) is not None:
            raise ConfigError(f"result of {one.run}: {why}; give a result of what is shared")
    return results or [one for one in _beside(form, folder) if not one.partial and _foreign(form, facts, one) is None]


def _beside(form: Form, folder: Path) -> list[Result]:
    """Results in the folder's own folder: named as it is, or those that a training of titles writes."""
    real = folder.resolve()
    files = sorted(real.parent.glob("*.result.json")) if form.what in _KINDS else []
    files += [real.parent / f"{real.name}.result.json"]
    found = []
    for file in dict.fromkeys(file for file in files if file.is_file()):
        try:
            found.append(read_result(file))
        except LlmrecError:  # nobody named it
            continue
    return found


def _foreign(form: Form, facts: Facts, result: Result) -> str | None:
    """Why a result is of something else; None where it is not known to be."""
    if form.shelf == "dataset":
        return None
    if result.kind != _KINDS.get(form.what, "ranking"):
        return f"it is of {result.kind}, this is {form.what}"
    how, settings = result.provenance, result.provenance.get("settings") or {}
    if form.what in _RANKERS and how.get("ranker") not in (None, facts.name):
        return f"it is of the ranker '{how['ranker']}', this is '{facts.name}'"
    if form.what in (_RANKERS[0], "a title model"):
        for key, value in facts.settings.items():
            if key in settings and json.dumps(settings[key]) != json.dumps(value):
                return f"its '{key}' was {settings[key]!r:.60}, here it is {value!r:.60}"
    return None


def _json(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    return found


def _of_ranker(folder: Path) -> Facts:
    record = _json(folder / "ranker.json")
    return Facts(record["ranker"], record["settings"], tuple(record["locales"]))


def _of_locales(folder: Path) -> Facts:
    first = _of_ranker(folder / "0")
    return Facts(first.name, first.settings, tuple(_json(folder / "per_locale.json")["locales"]))


def _of_selector(folder: Path) -> Facts:
    record, estimate = _json(folder / "selector.json"), _json(folder / "selector.json")["estimate"]
    notes: tuple[str, ...] = ()
    if estimate:
        gain, low, high = (f"{one:+.2f}" for one in estimate["gain"])
        notes = (
            f"Out of fold, {estimate['sessions']:,} training sessions: BLEU {estimate['bleu']:.2f} beside "
            f"{estimate['last_title']:.2f} of the last title; the gain is {gain} [{low}, {high}].",
        )
    return Facts("selector", record["settings"], _of_ranker(folder / "ranker").locales, notes=notes)


def _of_encoder(folder: Path) -> Facts:
    record = _json(folder / "encoder.json")
    name = record["settings"].get("name")
    base = name if record["kind"] == "sentence-transformers" and is_hub_name(name) else None
    return Facts(record["kind"], record["settings"], base=base)


def _of_manifest(folder: Path) -> Facts:
    import pyarrow.parquet as pq

    record = _json(folder / "manifest.json")
    with pq.ParquetFile(folder / "products.parquet") as file:
        locales = set(file.read(columns=["locale"]).column("locale").unique().to_pylist())
    made = {key: record[key] for key in ("command", "git_commit", "data_fingerprint", "finished") if record.get(key)}
    encoder = record["encoder"]["name"]
    notes = (f"{record['products']['num']:,} products; vectors of {record['encoder']['dim']} numbers by {encoder}.",)
    base = encoder if is_hub_name(encoder) else None
    return Facts("similar products", record["settings"], tuple(sorted(locales)), base, made, notes)


def _of_titles(folder: Path) -> Facts:
    card = {key: value for key, value in _json(folder / "llmrec.json").items() if key != "checksum"}
    if (folder / ADAPTER).is_file():
        adapter = _json(folder / ADAPTER)
        named = adapter.get("base_model_name_or_path")
        return Facts("LoRA adapter", card, base=named if is_hub_name(named) else None)
    return Facts(str(_json(folder / "config.json").get("model_type")), card)


def _of_other(folder: Path) -> Facts:
    return Facts(folder.name)


_READERS: Final = {
    "ranker.json": _of_ranker,
    "per_locale.json": _of_locales,
    "selector.json": _of_selector,
    "encoder.json": _of_encoder,
    "manifest.json": _of_manifest,
    "llmrec.json": _of_titles,
}


def is_hub_name(name: Any) -> bool:
    """Whether a name is one of the hub's rather than a folder's."""
    return (
        isinstance(name, str)
        and name.count("/") == 1
        and not name.startswith((".", "/", "~"))
        and not Path(name).exists()
    )
