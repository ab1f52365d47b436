"""The command behind ``make attack``: runs what is asked for, prints counts, and says how to see each failure."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.robustness.byte_readers import guided
from tests.robustness.controls import controls
from tests.robustness.deeds import DEEDS, NEEDED
from tests.robustness.events import PAIRS, Which, fail_at_events, interleave, kill_at_events, with_shim
from tests.robustness.families import FAMILIES
from tests.robustness.forks import preload
from tests.robustness.machines import machines
from tests.robustness.shop import Shop
from tests.robustness.suite import BAD, Tally, attack, numbered

__all__ = ["main"]

PARTS: Final = ("controls", "changes", "kills", "faults", "pairs", "machines", "bytes")
_SHIM: Final = "LLMREC_ATTACK_SHIM"


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Attack the commands, and say what broke.")
    parser.add_argument("--mutations", type=int, default=int(os.environ.get("MUTATIONS", "500")), help="of each family")
    today = int(datetime.datetime.now(datetime.UTC).strftime("%Y%m%d"))
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SEED", today)), help="the date if not given")
    parser.add_argument("--family", action="append", default=[], help="only this one; may be repeated")
    parser.add_argument("--part", action="append", choices=PARTS, default=[], help="all if not given; may be repeated")
    parser.add_argument("--every", type=int, default=1, help="only every such event of the file system")
    parser.add_argument("--seconds", type=int, default=30, help="of the guided search for bytes, for each reader")
    parser.add_argument("--only", default="", help="only these mutations or events, by number and commas")
    parser.add_argument("--keep", type=Path, help="keep changed files of what breaks in this folder")
    parser.add_argument("--json", type=Path, help="write counts and findings here, too")
    parser.add_argument("--shop", type=Path, help="folder of genuine artefacts, made where they are missing")
    asked = parser.parse_args(argv)
    asked.part = asked.part or list(PARTS)
    return asked


def main(argv: list[str] | None = None) -> int:
    """Run, print, and return 1 where anything broke."""
    asked = _arguments(argv)
    fast = Path("/dev/shm")
    if fast.is_dir() and os.access(fast, os.W_OK):
        tempfile.tempdir = str(fast)  # syncs cost nothing there
    if {"kills", "faults", "pairs"} & set(asked.part) and not os.environ.get(_SHIM):
        _start_again(argv)
    preload()
    made = asked.shop or Path(tempfile.mkdtemp(prefix="attack-shop-"))
    shop, tallies = Shop(made), []
    try:
        shop.make(() if {"changes", "machines", "bytes"} & set(asked.part) else NEEDED)
        for work in _works(asked, shop):
            started = time.monotonic()
            tallies.append(work())
            seconds = time.monotonic() - started
            _keep(asked, tallies)
            sys.stderr.write(f"{tallies[-1].family}: {dict(tallies[-1].counts)} in {seconds:.1f} s\n")
    finally:
        if asked.shop is None:
            shutil.rmtree(made, ignore_errors=True)
    sys.stdout.write(report(tallies) + "\n")
    return int(any(tally.findings for tally in tallies))


def _keep(asked: argparse.Namespace, tallies: list[Tally]) -> None:
    """Write what there is so far: a long run may be stopped."""
    if asked.json is not None:
        record = {"seed": asked.seed, "mutations": asked.mutations, "parts": [tally.record() for tally in tallies]}
        asked.json.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _start_again(argv: list[str] | None) -> None:
    """The same in a process that has the shim before the C library; as before where none can be made."""
    shim = with_shim()
    if shim is not None:
        environment = {**os.environ, _SHIM: str(shim), "LD_PRELOAD": str(shim)}
        words = sys.argv[1:] if argv is None else argv
        os.execve(sys.executable, [sys.executable, sys.argv[0], *words], environment)


def _works(asked: argparse.Namespace, shop: Shop) -> Iterator[Callable[[], Tally]]:
    wanted, which = asked.family, Which(asked.every, asked.seed, tuple(numbered(asked.only, 0)))
    if "controls" in asked.part:
        yield partial(controls, shop)
    if "changes" in asked.part:
        for name, family in FAMILIES.items():
            if not wanted or name in wanted:
                numbers = numbered(asked.only, asked.mutations)
                yield partial(attack, family, shop, asked.seed, numbers, asked.keep)
    for name, deed in DEEDS.items():
        if (wanted and name not in wanted) or (not wanted and name.endswith("of another")):
            continue
        for old in (False, True)[: 2 if deed.old else 1]:
            if "kills" in asked.part:
                yield partial(kill_at_events, deed, shop, old, which)
            if "faults" in asked.part:
                yield partial(fail_at_events, deed, shop, old, "full", which)
                yield partial(fail_at_events, deed, shop, old, "fault", which)
    for one, two in PAIRS:
        if "pairs" in asked.part and (not wanted or f"{one} | {two}" in wanted):
            yield partial(interleave, DEEDS[one], DEEDS[two], shop, False, which)
    if "machines" in asked.part:
        yield lambda: machines(shop, wanted)
    if "bytes" in asked.part:
        yield lambda: guided(shop.root, asked.seconds, asked.seed)


def report(tallies: list[Tally]) -> str:
    """A Markdown table of counts, and below it one example of each kind of failure."""
    verdicts = [*("same", "refused", "other", "sane", "whole", "both done", "one refused", "fine"), *BAD]
    used = [one for one in verdicts if any(tally.counts[one] for tally in tallies)]
    lines = ["| family | " + " | ".join(used) + " |", "|---|" + "--:|" * len(used)]
    for tally in tallies:
        lines.append(f"| {tally.family} | " + " | ".join(str(tally.counts[one]) for one in used) + " |")
    seen: set[Any] = set()
    for tally in tallies:
        for one in tally.findings:
            kind = (one.family, one.verdict, one.message.rpartition(" at ")[2][:60])
            if kind not in seen:
                seen.add(kind)
                lines += [
                    "",
                    f"{one.verdict} {one.family}: {one.change}: {one.message}",
                    f"    python scripts/attack.py {one.again}",
                ]
    return "\n".join(lines)
