"""The attack as a process of its own, which forks without a thread of the tests' in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.places import ROOT

__all__ = ["attacked", "failures"]


def attacked(folder: Path, *words: object) -> dict[str, dict[str, Any]]:
    """What `scripts/attack.py` found, by what it attacked."""
    out = folder / "attack.json"
    call = [sys.executable, str(ROOT / "scripts" / "attack.py"), "--json", str(out), *map(str, words)]
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, cwd=folder, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    if not out.is_file():
        raise RuntimeError(done.stdout[-2_000:] + done.stderr[-2_000:])
    return {part["family"]: part for part in json.loads(out.read_text(encoding="utf-8"))["parts"]}


def failures(part: dict[str, Any]) -> str:
    """What broke, a line each, with the command that shows it."""
    return "\n".join(
        f"{one['verdict']} {one['change']}: {one['message']}\n    python scripts/attack.py {one['again']}"
        for one in part["findings"]
    )
