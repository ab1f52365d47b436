"""Records that somebody changed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def rewrite(file: Path, change: Mapping[str, Any], without: tuple[str, ...] = ()) -> None:
    """Change a record, whose checksum goes: mappings are merged, other values are replaced."""
    record = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: value for key, value in record.items() if key not in ("checksum", *without)}
    file.write_text(json.dumps(_merged(kept, change)), encoding="utf-8")


def _merged(old: Any, new: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(new, Mapping):
        return new
    return old | {key: _merged(old.get(key), value) for key, value in new.items()}
