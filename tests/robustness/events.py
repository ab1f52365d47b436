"""Commands stopped, killed or failed at an event of the file system, and a second writer run whole in between.

Events are counted by `shim.c` where a C compiler is (native writers too), else by Python's audit hooks.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from tests.robustness.deeds import Deed
from tests.robustness.forks import Outcome, child, finish, forked
from tests.robustness.shop import Shop
from tests.robustness.suite import Finding, Tally, difference, leftovers

__all__ = ["PAIRS", "Which", "fail_at_events", "interleave", "kill_at_events", "with_shim"]

Mode = Literal["count", "kill", "stop", "full", "fault"]
MODES: Final[dict[Mode, int]] = {"count": 0, "kill": 1, "stop": 2, "full": 3, "fault": 4}
_WRITING: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
PATIENCE: Final = 20.0  # seconds of the second writer while the first stands still
_AUDITED: Final = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")


def with_shim() -> Path | None:
    """The shim, compiled; None where there is no compiler. Whoever wants it starts again with it in LD_PRELOAD."""
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    made = Path(tempfile.mkdtemp(prefix="attack-shim-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", made, source, "-ldl"], capture_output=True, check=False
    )
    return made if done.returncode == 0 else None


def _library() -> Any:
    library = ctypes.CDLL(None)
    return library if hasattr(library, "attack_arm") else None


def arm(folder: Path, number: int, mode: Mode) -> Callable[[], int]:
    """Count events below a folder in this process, and do something at one of them; gives the counter."""
    library = _library()
    if library is not None:
        library.attack_events.restype = ctypes.c_long
        library.attack_arm(os.fsencode(folder), ctypes.c_long(number), MODES[mode])
        return lambda: int(library.attack_events())
    return _hooked(str(folder), number, mode)


def _hooked(folder: str, number: int, mode: Mode) -> Callable[[], int]:
    seen = [0]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        writing = event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING
        if not (writing or event in _AUDITED):
            return
        path = next((os.fsdecode(one) for one in arguments[:2] if isinstance(one, str | bytes | os.PathLike)), "")
        if not path.startswith(folder):
            return
        seen[0] += 1
        if mode == "full" and seen[0] >= number and (writing or event == "os.mkdir"):
            raise OSError(28, os.strerror(28), path)
        if seen[0] == number and mode in ("kill", "stop"):
            os.kill(os.getpid(), signal.SIGKILL if mode == "kill" else signal.SIGSTOP)
        if seen[0] == number and mode == "fault":
            raise OSError(5, os.strerror(5), path)

    sys.addaudithook(hook)
    return lambda: seen[0]


@dataclass
class _Setting:
    """A deed in a folder of its own: what its output was before, and is after."""

    deed: Deed
    shop: Shop
    start: Path
    before: Any = None
    after: Any = None
    events: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def bad(self, verdict: str, number: int, what: str, message: str) -> None:
        self.counts[verdict] += 1
        part, _, name = what.partition(" ")
        part = {"kill": "kills", "full": "faults", "fault": "faults"}.get(part, "pairs")
        name = what if part == "pairs" else name.removesuffix(" over old")
        again = f"--part {part} --family '{name}' --only {number}"
        self.findings.append(Finding(what, verdict, f"event {number} of {self.events}", again, message))


def _look(deed: Deed, folder: Path, shop: Shop) -> Any:
    """What a reader of the output says: its answer, that there is none, or that it is refused."""
    if not any((folder / name).exists() for name in deed.outputs):
        return "absent"
    outcome = forked(lambda: deed.look(folder, shop), 60)
    return outcome.answer if outcome.kind == "answered" else f"{outcome.kind}: {outcome.message}"


@contextmanager
def _copied(folder: Path) -> Iterator[Path]:
    """A copy of a folder, always at the same place: some records hold paths."""
    with tempfile.TemporaryDirectory(prefix="attack-", ignore_cleanup_errors=True) as place:
        copy = Path(place) / "work"
        shutil.copytree(folder, copy, symlinks=True)
        yield copy


@contextmanager
def _prepared(deed: Deed, shop: Shop, old: bool) -> Iterator[_Setting]:
    with tempfile.TemporaryDirectory(prefix="attack-") as place:
        start = Path(place) / "start"
        start.mkdir()
        made = forked(lambda: deed.prepare(start, shop, old), 120)
        if made.kind != "answered":
            raise RuntimeError(f"{deed.name}: cannot be prepared: {made.kind} {made.message}")
        setting = _Setting(deed, shop, start, _look(deed, start, shop))
        with _copied(start) as folder:

            def act() -> int:
                counted = arm(folder, -1, "count")
                deed.act(folder, shop)
                return counted()

            outcome = forked(act, 120)
            if outcome.kind != "answered":
                raise RuntimeError(f"{deed.name}: {outcome.kind} {outcome.message}")
            setting.events = int(outcome.answer)
            setting.after = _look(deed, folder, shop)
        yield setting


def _act(setting: _Setting, folder: Path, number: int, mode: Mode) -> Outcome:
    def act() -> None:
        if number:
            arm(folder, number, mode)
        setting.deed.act(folder, setting.shop)

    return forked(act, 120)


@dataclass(frozen=True)
class Which:
    """Which events of a command.

    Attributes:
        every: Only every such one.
        first: Where to start, where not all are taken.
        only: These alone.
    """

    every: int = 1
    first: int = 0
    only: tuple[int, ...] = ()

    def of(self, events: int) -> Iterable[int]:
        """Numbers of events, from 1."""
        return self.only or range(1 + self.first % self.every, events + 1, self.every)


def kill_at_events(deed: Deed, shop: Shop, old: bool, which: Which) -> Tally:
    """Kill a command at its events: old or new is whole then, a rerun ends as if nothing had been, nothing is left.

    Args:
        deed: The command.
        shop: Where what it reads is.
        old: Whether there is an output already.
        which: Events.
    """
    name = f"kill {deed.name}{' over old' if old else ''}"
    with _prepared(deed, shop, old) as setting:
        for number in which.of(setting.events):
            with _copied(setting.start) as folder:
                _act(setting, folder, number, "kill")
                between = _look(deed, folder, shop)
                if between not in (setting.before, setting.after):
                    setting.bad("TORN", number, name, difference(setting.after, between))
                    continue
                _rerun(setting, folder, number, name)
        return Tally(name, setting.counts, setting.findings)


def fail_at_events(deed: Deed, shop: Shop, old: bool, mode: Mode, which: Which) -> Tally:
    """Let a command's events fail, one alone or all from one on as on a full disk: one line, and the old is whole."""
    name = f"{mode} {deed.name}{' over old' if old else ''}"
    with _prepared(deed, shop, old) as setting:
        for number in which.of(setting.events):
            with _copied(setting.start) as folder:
                outcome = _act(setting, folder, number, mode)
                if outcome.kind not in ("refused", "answered"):
                    setting.bad(outcome.kind.upper(), number, name, outcome.message)
                    continue
                between = _look(deed, folder, shop)
                expected = (setting.after,) if outcome.kind == "answered" else (setting.before, setting.after)
                if between not in expected:
                    setting.bad("TORN", number, name, f"{outcome.kind}: {difference(expected[0], between)}")
                    continue
                _rerun(setting, folder, number, name)
        return Tally(name, setting.counts, setting.findings)


def _rerun(setting: _Setting, folder: Path, number: int, name: str) -> None:
    again = _act(setting, folder, 0, "count")
    now = _look(setting.deed, folder, setting.shop)
    if again.kind != "answered":
        setting.bad("RERUN", number, name, f"{again.kind} {again.message}")
    elif now != setting.after:
        setting.bad("RERUN", number, name, difference(setting.after, now))
    elif left := leftovers(folder, set()):
        setting.bad("LEFTOVER", number, name, ", ".join(left))
    else:
        setting.counts["whole"] += 1


PAIRS: Final = (
    *(("rank", "rank of another"), ("rank save", "rank save of another"), ("import", "import of another")),
    *(
        ("embed", "embed"),
        ("embed", "embed of another"),
        ("embed", "index"),
        ("index", "index"),
        ("index", "index add"),
    ),
    *(("index add", "index add of another"), ("index add", "index"), ("index add", "index remove")),
    *(("select", "select"), ("tune", "tune"), ("holdout", "holdout of another"), ("evaluate", "evaluate of another")),
)


def interleave(first: Deed, second: Deed, shop: Shop, old: bool, which: Which) -> Tally:
    """Stop one writer at its events and run another of the same output whole: each is done or refused in a line.

    What is there in the end is what one of them, or one after the other, would have left; of two that both say that
    they are done and that add to one thing, both additions are there.
    """
    name = f"{first.name} | {second.name}"
    with _prepared(first, shop, old) as setting:
        ends = {words: _in_turn(setting, deeds, shop) for words, deeds in _orders(first, second).items()}
        for number in which.of(setting.events):
            with _copied(setting.start) as folder:
                one, two = _beside(setting, second, folder, number, shop)
                wrong = [one_ for one_ in (one, two) if one_.kind not in ("answered", "refused")]
                if wrong:
                    setting.bad(wrong[0].kind.upper(), number, name, wrong[0].message)
                    continue
                done = "".join(letter for letter, outcome in (("a", one), ("b", two)) if outcome.kind == "answered")
                allowed = {"ab": ("ab", "ba"), "a": ("a",), "b": ("b",), "": ("",)}[done]
                left = _look(first, folder, shop)
                if left not in [ends[words] for words in allowed]:
                    setting.bad("TORN", number, name, f"done: {done}; {difference(ends[allowed[0]], left)}")
                elif names := leftovers(folder, set()):
                    setting.bad("LEFTOVER", number, name, ", ".join(names))
                else:
                    setting.counts["both done" if done == "ab" else "one refused"] += 1
        return Tally(name, setting.counts, setting.findings)


def _orders(first: Deed, second: Deed) -> dict[str, tuple[Deed, ...]]:
    return {"": (), "a": (first,), "b": (second,), "ab": (first, second), "ba": (second, first)}


def _in_turn(setting: _Setting, deeds: tuple[Deed, ...], shop: Shop) -> Any:
    with _copied(setting.start) as folder:
        for deed in deeds:
            outcome = forked(lambda deed=deed: deed.act(folder, shop), 120)  # type: ignore[misc]
            if outcome.kind != "answered":
                return f"{outcome.kind} {outcome.message}"
        return _look(setting.deed, folder, shop)


def _beside(setting: _Setting, second: Deed, folder: Path, number: int, shop: Shop) -> tuple[Outcome, Outcome]:
    def act() -> None:
        arm(folder, number, "stop")
        setting.deed.act(folder, shop)

    running = child(act)
    _, status = os.waitpid(running.pid, os.WUNTRACED)
    if not os.WIFSTOPPED(status):  # it ended before
        return Outcome("answered"), forked(lambda: second.act(folder, shop), 120)
    other = child(lambda: second.act(folder, shop))
    if not select.select([other.pipe], [], [], PATIENCE)[0]:
        os.kill(running.pid, signal.SIGCONT)  # the second waits its turn: as long as the first takes, not for ever
        return finish(running, 120), finish(other, 120)
    ended = finish(other, 120)
    os.kill(running.pid, signal.SIGCONT)
    return finish(running, 120), ended
