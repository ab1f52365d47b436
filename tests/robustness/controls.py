"""The judge is judged: readers that do each thing that a command must not do, and the verdict each has to get."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from tests.robustness.families import Family
from tests.robustness.forks import Odd, Refused
from tests.robustness.shop import Shop
from tests.robustness.suite import Finding, Tally, attack

__all__ = ["controls"]


def _when_changed(act: Callable[[Path], Any]) -> Callable[[Path, Path, Shop], Any]:
    """A reader that is well behaved with the genuine file alone."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        if (folder / "own.yaml").read_bytes() == (shop / "recipe/own.yaml").read_bytes():
            return "genuine"
        return act(out)

    return read


def _raise(error: BaseException) -> Any:
    raise error


def _wait(_: Path) -> Any:
    signal.alarm(0)
    while True:
        time.sleep(1)


def _leave(out: Path) -> str:
    (out / ".run.parquet.01234567.llmrec.tmp").touch()
    return "genuine"


def _grow(_: Path) -> Any:
    return len(bytearray(1 << 45))


BEHAVIOUR: Final[Mapping[str, tuple[str, Callable[[Path], Any]]]] = {
    "reads as before": ("same", lambda _: "genuine"),
    "says it in a line": ("refused", lambda _: _raise(Refused("a notice\nerror: own.yaml: wrong; mend it\n"))),
    "raises": ("TRACEBACK", lambda _: _raise(ValueError("no"))),
    "ends with another status": ("TRACEBACK", lambda _: _raise(RuntimeError("status 1"))),
    "takes all memory": ("TRACEBACK", _grow),
    "recurses": ("TRACEBACK", lambda _: _raise(RecursionError())),
    "answers otherwise": ("ACCEPTED", lambda _: "another"),
    "never ends": ("HANG", _wait),
    "dies": ("CRASH", lambda _: os.kill(os.getpid(), signal.SIGSEGV)),
    "ends the process": ("CRASH", lambda _: os._exit(3)),
    "leaves a temporary": ("LEFTOVER", _leave),
    "says it in a page": ("UNTIDY", lambda _: _raise(Refused("error: " + "x" * 5_000))),
    "says it with an escape": ("UNTIDY", lambda _: _raise(Refused("error: \x1b[31mred"))),
    "says nothing": ("UNTIDY", lambda _: _raise(Refused(""))),
    "shows an escape": ("UNTIDY", lambda _: _raise(Odd("ESC"))),
    "leaves": ("TRACEBACK", lambda _: sys.exit(1)),
}


def controls(shop: Shop) -> Tally:
    """Attack each of them once; a verdict that is another than it must be is a finding."""
    tally = Tally("controls", Counter(), [])
    for name, (expected, act) in BEHAVIOUR.items():
        family = Family(name, "recipe", {"own.yaml": "bytes"}, {"": _when_changed(act)}, seconds=2.0)
        got = attack(family, shop, 1, range(1))
        right = got.counts == {expected: 1}
        tally.counts["fine" if right else "WRONG"] += 1
        if not right:
            tally.findings.append(
                Finding("controls", "WRONG", name, "--part controls", f"{dict(got.counts)}, not {expected}")
            )
    return tally
