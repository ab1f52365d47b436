"""A folder as it may leave this machine: its known files alone, without paths of this machine and without secrets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.errors import ConfigError, without_secrets
from llmrec.hub.cards import portable
from llmrec.hub.facts import ADAPTER
from llmrec.hub.forms import CARD, SOURCE, is_read
from llmrec.records import record_text

__all__ = ["copied", "staged"]

_RECORD_BYTES: Final = 1 << 24  # larger JSON is a vocabulary
_VOCABULARIES: Final = ("tokenizer.json", "vocab.json", "tokenizer_config.json", "special_tokens_map.json")


def staged(folder: Path, out: Path, base_model: str | None) -> tuple[list[str], list[str]]:
    """Put what is shared of a folder into another one; large files become links.

    Args:
        folder: The folder.
        out: Where to.
        base_model: Hub name of an adapter's base, where the folder names one of this machine.

    Returns:
        Names of what is shared, and of what is left out.

    Raises:
        ConfigError: a file holds a key, or what it cannot be rid of without being another one.
    """
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    shared = [name for name in names if is_read(name)]
    for name in shared:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".json") and name.rpartition("/")[2] not in _VOCABULARIES and _is_small(folder / name):
            (out / name).write_text(_cleaned(folder / name, base_model), encoding="utf-8")
        else:
            (out / name).symlink_to((folder / name).resolve())
    hidden = [name for name in names if name.rpartition("/")[2].startswith(".")]
    return shared, [name for name in names if not is_read(name) and name not in (CARD, SOURCE, *hidden)]


def copied(folder: Path, names: list[str], out: Path) -> None:
    """Copy files, through links, with the folders that they are in."""
    for name in names:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, out / name)


def _is_small(file: Path) -> bool:
    return file.stat().st_size <= _RECORD_BYTES


def _cleaned(file: Path, base_model: str | None) -> str:
    """Text of a JSON file as it may be shared: the same where nothing in it is of this machine."""
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        content = msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file}: damaged; make it again, then share it") from error
    if (kept := _secret(content)) is not None:
        raise ConfigError(f"{file}: '{kept}' holds what looks like a key or a password; take it out, then share it")
    if file.name == ADAPTER and isinstance(content, dict):
        base = base_model or content.get("base_model_name_or_path")
        if base_model is None and (base is None or portable(base) != base or Path(str(base)).exists()):
            raise ConfigError(
                f"{file}: its base is a folder of this machine; name the base's repository with --base-model, or share "
                f"the merged model: llmrec merge-adapter"
            )
        content = {**content, "base_model_name_or_path": base}
    cleaned = portable(content)
    if cleaned == msgspec.json.decode(text):
        return text
    if isinstance(content, dict) and content.get("kind") == "static":  # its fingerprint is of its settings, too
        raise ConfigError(f"{file}: its name is a path of this machine; make it from a relative path or a hub name")
    if isinstance(content, dict) and "checksum" in content:
        return record_text({key: value for key, value in cleaned.items() if key != "checksum"})
    return msgspec.json.format(msgspec.json.encode(cleaned), indent=2).decode() + "\n"


def _secret(content: Any, name: str = "") -> str | None:
    """Name of the first value that holds a secret; None where there is none."""
    if isinstance(content, dict):
        pairs = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list):
        pairs = [(name, value) for value in content]
    else:
        return name or "a value" if isinstance(content, str) and without_secrets(content) != content else None
    return next((found for key, value in pairs if (found := _secret(value, key)) is not None), None)
