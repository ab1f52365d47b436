"""Changes files, has them read, and says what came of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.robustness.families import Family
from tests.robustness.forks import Outcome, forked
from tests.robustness.mutate import mutated
from tests.robustness.seal import reseal
from tests.robustness.shop import Shop

__all__ = ["BAD", "Finding", "Tally", "attack", "changed_copy", "leftovers"]

BAD: Final = ("TRACEBACK", "ACCEPTED", "HANG", "CRASH", "LEFTOVER", "UNTIDY", "BROKEN", "TORN", "RERUN", "WRONG")
_OF_KIND: Final = {"traceback": "TRACEBACK", "hang": "HANG", "crash": "CRASH", "untidy": "UNTIDY"}


@dataclass(frozen=True)
class Finding:
    """One thing that broke.

    Attributes:
        family: What was attacked.
        verdict: One of `BAD`.
        change: How: file, mutator, whether checksums were put right again; or which event.
        again: What to give `scripts/attack.py` to see it.
        message: The error's last line, or what differs.
    """

    family: str
    verdict: str
    change: str
    again: str
    message: str


@dataclass
class Tally:
    """What came of a family's mutations: counts by verdict, and what broke."""

    family: str
    counts: Counter[str]
    findings: list[Finding]

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"family": self.family, "counts": dict(self.counts), "findings": [asdict(one) for one in self.findings]}


def attack(family: Family, shop: Shop, seed: int, numbers: Iterable[int], keep: Path | None = None) -> Tally:
    """Change a genuine one so many times, and judge each answer.

    Args:
        family: The family.
        shop: Where genuine ones are.
        seed: Of the changes.
        numbers: Which ones to make; each is drawn for itself.
        keep: Folder for the changed files of what breaks; None keeps none.
    """
    tally = Tally(family.name, Counter(), [])
    genuine = {}
    for name in family.readers:
        outcome = _genuine(family, shop, name)
        if outcome.kind != "answered":
            tally.counts["BROKEN"] += 1
            message = f"{name}: {outcome.kind} {outcome.message}"
            tally.findings.append(Finding(family.name, "BROKEN", "none", f"--family '{family.name}'", message))
            return tally
        genuine[name] = outcome.answer
    known = None if family.truth is None else family.truth(shop / family.part)
    for number in numbers:
        with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as place:
            folder = Path(place) / "case" / family.part
            change, reader = changed_copy(family, shop, folder, seed, number)
            before = set(Path(place).rglob("*"))
            outcome = _answer(family, reader, shop, folder, Path(place))
            left = leftovers(Path(place), before)
            verdict, message = _judged(family, shop, folder, genuine[reader], known, outcome, "sealed" in change)
            if verdict not in BAD and left:
                verdict, message = "LEFTOVER", ", ".join(left)
            tally.counts[verdict] += 1
            if verdict in BAD:
                again = f"--part changes --family '{family.name}' --seed {seed} --only {number}"
                tally.findings.append(Finding(family.name, verdict, f"{change}, by {reader}", again, message))
                if keep is not None:
                    target = keep / f"{family.name} {seed} {number}".replace(" ", "-")
                    shutil.copytree(place, target, dirs_exist_ok=True, symlinks=True)
    return tally


def changed_copy(family: Family, shop: Shop, folder: Path, seed: int, number: int) -> tuple[str, str]:
    """Copy a genuine one and change it; says how, and which reader is to read it."""
    shutil.copytree(shop.path(family.part), folder)
    draw = Random(int.from_bytes(hashlib.sha256(f"{family.name} {seed} {number}".encode()).digest()[:8], "big"))
    if family.change is not None:
        return family.change(folder, draw), draw.choice(sorted(family.readers))
    choices = [(path, form) for pattern, form in family.files.items() for path in sorted(folder.glob(pattern))]
    files = {path: form for path, form in reversed(choices) if path.is_file()}
    path = draw.choice(sorted(files))
    before = path.read_bytes()
    after, how = mutated(before, _form(path, files[path]), draw, family.share_of_bytes)
    path.write_bytes(after)
    change = f"{path.relative_to(folder)} {how}"
    if family.sealed and draw.random() < 0.5 and reseal(folder, path, before):
        change += " sealed"
    return change, draw.choice(sorted(family.readers))


def _form(path: Path, form: str) -> str:
    if form != "any":
        return form
    known = ("json", "jsonl", "npy", "parquet", "safetensors")
    return path.suffix[1:] if path.suffix[1:] in known else "bytes"


def _answer(family: Family, reader: str, shop: Shop, folder: Path, place: Path) -> Outcome:
    (place / "out").mkdir()
    return forked(lambda: family.readers[reader](folder, place / "out", shop), family.seconds)


def _genuine(family: Family, shop: Shop, reader: str) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="attack-") as place:
        folder = Path(place) / "case" / family.part
        shutil.copytree(shop.path(family.part), folder)
        return _answer(family, reader, shop, folder, Path(place))


def leftovers(place: Path, before: set[Path]) -> list[str]:
    """Temporary files and locks that a command left."""
    names = {path.name for path in place.rglob("*") if path not in before}
    return sorted(name for name in names if name.endswith((".tmp", ".partial")) or ".llmrec." in name)


def _judged(
    family: Family, shop: Shop, folder: Path, genuine: Any, known: Any, outcome: Outcome, sealed: bool
) -> tuple[str, str]:
    if outcome.kind in _OF_KIND:
        return _OF_KIND[outcome.kind], outcome.message
    if outcome.kind == "refused":
        return "refused", outcome.message
    if outcome.answer == json.loads(json.dumps(genuine)):
        return "same", ""
    if family.free:
        return "other", ""
    differs = difference(genuine, outcome.answer)
    if sealed:
        wrong = family.sane(outcome.answer, shop)
        return ("ACCEPTED", f"sealed again: {wrong}") if wrong else ("sane", "")
    if family.truth is None:
        return "ACCEPTED", differs
    try:
        now = family.truth(folder)
    except Exception as error:  # noqa: BLE001 - whatever a strict reader says, it did not read it
        return "ACCEPTED", f"{differs}; a strict reader says: {' '.join(str(error).split())[:100]}"
    return ("ACCEPTED", f"{differs}; a strict reader finds the same in it") if now == known else ("other", "")


def difference(one: Any, two: Any, at: str = "answer") -> str:
    """Where two answers differ first."""
    if isinstance(one, list | tuple) and isinstance(two, list) and len(one) == len(two):
        for place, (left, right) in enumerate(zip(one, two, strict=True)):
            if json.dumps(left) != json.dumps(right):
                return difference(left, right, f"{at}[{place}]")
    if isinstance(one, dict) and isinstance(two, dict) and one.keys() == two.keys():
        for key in one:
            if one[key] != two[key]:
                return difference(one[key], two[key], f"{at}.{key}")
    return f"{at}: {str(one)[:60]} → {str(two)[:60]}"


def numbered(text: str, default: int) -> Iterator[int]:
    """Numbers of mutations: ``7`` or ``3,9``; the first so many where nothing is given."""
    with suppress(ValueError):
        yield from ([int(one) for one in text.split(",")] if text else range(default))
