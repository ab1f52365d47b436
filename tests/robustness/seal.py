"""Checksums put right again: what somebody does who means harm, not what a disk does."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["reseal"]


def reseal(folder: Path, changed: Path, before: bytes) -> bool:
    """Have every record of a folder vouch for a file that was changed.

    Wherever a record holds the SHA-256 or the size of the file's old bytes, it gets those of the new ones; a record
    that has a ``checksum`` of itself gets its new one; and a file that vouches for such a record in turn, too.

    Returns:
        Whether anything had to be put right.
    """
    did, waiting = False, [(changed, before)]
    while waiting:
        path, old = waiting.pop()
        new = path.read_bytes()
        own = _stamped(new) if path.suffix == ".json" else b"\n".join(map(_stamped, new.split(b"\n")))
        if own != new and path.suffix in (".json", ".jsonl"):
            path.write_bytes(own)
            new, did = own, True
        for record in folder.rglob("*.json"):
            was = record.read_bytes()
            text = was.replace(hashlib.sha256(old).hexdigest().encode(), hashlib.sha256(new).hexdigest().encode())
            if path.suffix not in (".json", ".jsonl"):
                text = text.replace(f'"bytes": {len(old)}'.encode(), f'"bytes": {len(new)}'.encode())
            if text != was and record != path:
                record.write_bytes(text)
                waiting.append((record, was))
                did = True
    return did


def _stamped(data: bytes) -> bytes:
    """A record with the checksum of its content: SHA-256 of the rest as canonical JSON."""
    try:
        tree: Any = json.loads(data)
        if not isinstance(tree, dict) or not isinstance(tree.get("checksum"), str):
            return data
        rest = {key: value for key, value in tree.items() if key != "checksum"}
        text = json.dumps(rest, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        tree["checksum"] = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        return json.dumps(tree).encode()
    except (ValueError, RecursionError):
        return data
