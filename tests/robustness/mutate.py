"""Other bytes than a file's, drawn by a seeded `random.Random` from what can be done to its form."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Final

from tests.robustness.forms.arrays import NPY, SAFETENSORS
from tests.robustness.forms.plain import BYTES, Mutator, Skip
from tests.robustness.forms.tables import CSV, LOG, PARQUET, SQLITE
from tests.robustness.forms.texts_that_run import PROMPT, YAML
from tests.robustness.forms.trees import JSON, JSONL

__all__ = ["FORMS", "mutated"]

FORMS: Final[Mapping[str, tuple[Mutator, ...]]] = {
    "json": JSON,
    "jsonl": JSONL,
    "yaml": YAML,
    "prompt": PROMPT,
    "csv": CSV,
    "log": LOG,
    "parquet": PARQUET,
    "npy": NPY,
    "safetensors": SAFETENSORS,
    "sqlite": SQLITE,
    "bytes": (),
}


def mutated(data: bytes, form: str, draw: Random, share_of_bytes: float = 0.4) -> tuple[bytes, str]:
    """Other bytes than ``data``, and the name of what changed them."""
    while True:
        own = FORMS[form]
        mutator = draw.choice(own) if own and draw.random() >= share_of_bytes else draw.choice(BYTES)
        try:
            changed = mutator(data, draw)
        except Skip:
            continue
        if changed != data:
            return changed, mutator.__name__
