"""Odd machines: commands where the folder, the home, the streams, the limits or the disk are not as they should be."""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from tests.robustness.deeds import DEEDS
from tests.robustness.forks import Outcome, Refused, command, forked
from tests.robustness.shop import Shop
from tests.robustness.suite import Finding, Tally, leftovers

__all__ = ["machines"]

Change = Callable[[Path], object]


@dataclass(frozen=True)
class Machine:
    """An oddity.

    Attributes:
        name: What the table calls it.
        change: Makes it so, in the child, given a folder of its own.
        words: The command; ``@`` stands for the folder, ``$`` for the shop.
        expected: Ends that are right: ``answered``, ``refused``.
        says: What the error has to say.
        never: What it must not say.
        stream: What stands for standard output; None captures it.
    """

    name: str
    words: str
    change: Change = lambda folder: None
    expected: tuple[str, ...] = ("answered", "refused")
    says: str = ""
    never: str = ""
    stream: Callable[[], Any] | None = None


def _gone(folder: Path) -> None:
    place = folder / "gone"
    place.mkdir()
    os.chdir(place)
    place.rmdir()


def _no_home(_: Path) -> None:
    def unknown(*_: Any) -> Any:
        raise KeyError("no such user")

    os.environ.pop("HOME", None)
    pwd.getpwuid = pwd.getpwnam = unknown


def _limit(kind: int, value: int) -> Change:
    def change(_: Path) -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(kind, (value, value))

    return change


def _environment(**changes: str) -> Change:
    return lambda folder: os.environ.update({key: value.replace("@", str(folder)) for key, value in changes.items()})


def _broken_pipe() -> Any:
    reading, writing = os.pipe()
    os.close(reading)
    return os.fdopen(writing, "w", encoding="utf-8")


def _full() -> Any:
    return os.fdopen(os.open("/dev/full", os.O_WRONLY), "w", encoding="utf-8")


def _in(encoding: str) -> Callable[[], Any]:
    return lambda: io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def _java(folder: Path) -> None:
    tool = folder / "java"
    tool.write_text("#!/bin/sh\necho no >&2\nexit 1\n", encoding="utf-8")
    tool.chmod(0o755)
    os.environ["PATH"] = f"{folder}:{os.environ.get('PATH', '')}"
    os.environ.pop("JAVA_HOME", None)


RANK: Final = "rank covisit --train $/store/sessions_development.parquet --sessions $/store/sessions_validation.parquet"
EVALUATE: Final = "evaluate $/runs/titles.parquet --targets $/store/sessions_validation.parquet --samples 20"
SIMILAR: Final = "similar $/index-exact ライト --locale JP"
WRITERS: Final = (
    *(f"{RANK} --out %", f"{EVALUATE} --json %", "results $/results/covisit.json --out %"),
    *("data pick $/files/sessions.parquet % --locale DE", "last-title $/store --out %"),
    "blend $/runs/covisit.parquet $/runs/popularity.parquet --out %",
    "explain $/fusion --sessions $/files/bare.parquet --limit 1 --out %",
    "ground $/runs/titles.parquet --index $/index-exact --out %",
    "rerank $/runs/covisit.parquet --model $/model --sessions $/store/sessions_validation.parquet "
    "--products $/store/products.parquet --limit 2 --top 2 --out %",
    "select --load $/selector --data $/store --split validation --out %",
    "evaluate-alignment $/embeddings --queries 10 --json %",
    "tune covisit --trials 1 --train $/store/sessions_development.parquet --out %",
)
FOLDERS: Final = (
    *(f"{RANK[: RANK.index(' --sessions')]} --save %", "data import $/raw %", "data synth % --size tiny"),
    *("data holdout $/files/sessions.parquet %", "embed products $/store/products.parquet --dim 8 --out %"),
)


def _machines() -> Iterator[Machine]:
    rank, synth = f"{RANK} --out @/run.parquet", "data holdout $/files/sessions.parquet held"
    yield Machine("working directory gone", synth, _gone, ("refused",))
    yield Machine("working directory gone, absolute paths", rank, _gone)
    yield Machine("no home", f"{RANK} --out ~nobody-there/run.parquet", _no_home)
    yield Machine("no home, ~", "data import ~/raw @/store", _no_home, ("refused",))
    yield Machine("no temporary folder", rank, _environment(TMPDIR="/nowhere/at/all"))
    yield Machine("few open files", rank, _limit(resource.RLIMIT_NOFILE, 16))
    yield Machine("small files alone", rank, _limit(resource.RLIMIT_FSIZE, 256), ("refused",))
    yield Machine("RANK=x", rank, _environment(RANK="x"), ("refused",), "RANK")
    yield Machine("COLUMNS=0", EVALUATE, _environment(COLUMNS="0"), ("answered",))
    yield Machine("odd TERM", EVALUATE, _environment(TERM="\x1b", COLUMNS="x", LINES="y"), ("answered",))
    yield Machine("java broken", f"{RANK} --engine spark --out @/run.parquet", _java, ("refused",))
    for name, words in (
        ("evaluate", EVALUATE),
        ("similar", SIMILAR),
        ("help", "rank --help"),
        ("list", "prompts list"),
    ):
        yield Machine(f"stdout full, {name}", words, expected=("refused",), stream=_full)
        yield Machine(f"stdout closed, {name}", words, stream=lambda: None)
        yield Machine(f"stdout's reader gone, {name}", words, stream=_broken_pipe)
        for encoding in ("ascii", "latin-1", "cp1252", "shift-jis"):
            yield Machine(f"stdout in {encoding}, {name}", words, expected=("answered",), stream=_in(encoding))
    for words in (*WRITERS, *FOLDERS):
        said = words.split()
        flag = said[said.index("%") - 1]
        verb = " ".join([one for one in said[:2] if one[0].isalpha()] + [flag] * flag.startswith("--"))
        yield from _outputs(verb, words, words in FOLDERS)


def _outputs(verb: str, words: str, folder: bool) -> Iterator[Machine]:
    """Outputs that are something else than a place for a file."""
    out = "@/out" if folder else "@/out.yaml" if verb.startswith("tune") else "@/out.parquet"
    asked = words.replace("%", out)
    at = out.removeprefix("@/")
    refused = ("refused",)
    if folder:
        yield Machine(
            f"a file in the place of the folder: {verb}", asked, lambda place: (place / at).write_text("x"), refused
        )
    else:
        yield Machine(f"a folder in the place of the file: {verb}", asked, lambda place: (place / at).mkdir(), refused)
    yield Machine(
        f"a device: {verb}", asked, lambda place: os.mknod(place / at, 0o666 | 0o020000, os.makedev(1, 3)), refused
    )
    yield Machine(f"a FIFO: {verb}", asked, lambda place: os.mkfifo(place / at), refused)
    yield Machine(f"a link to itself: {verb}", asked, lambda place: (place / at).symlink_to(place / at), refused)
    yield Machine(f"a name of 300: {verb}", words.replace("%", "@/" + 300 * "x" + Path(at).suffix), expected=refused)
    yield Machine(
        f"below a file: {verb}",
        words.replace("%", f"@/file/{at}"),
        lambda place: (place / "file").write_text("x"),
        refused,
    )
    yield Machine(f"a NUL in the name: {verb}", words.replace("%", "@/o\0ut"), expected=refused)


MACHINES: Final = tuple(_machines())


def machines(shop: Shop, wanted: Collection[str] = ()) -> Tally:
    """Run the commands on odd machines; those of some names, or all."""
    tally = Tally("machines", Counter(), [])
    for machine in MACHINES:
        if not wanted or machine.name in wanted:
            _judge(tally, machine, shop)
    for what, names, try_one in (
        ("disk full", _DISK_DEEDS, _disk_full),
        ("disk read-only", _DISK_DEEDS, _disk_read_only),
        ("through a link", _LINKED, _link),
        ("LC_ALL=C", ("similar",), _locale_c),
    ):
        for name in names:
            if not wanted or f"{what}, {name}" in wanted:
                try_one(tally, f"{what}, {name}", name, shop)
    return tally


def _judge(tally: Tally, machine: Machine, shop: Shop) -> None:
    with tempfile.TemporaryDirectory(prefix="attack-") as place:
        folder = Path(place) / "own"
        folder.mkdir()
        before = set(Path(place).rglob("*"))
        words = [one.replace("@", str(folder)).replace("$", str(shop.root)) for one in machine.words.split(" ")]

        def act() -> None:
            os.chdir(folder)
            machine.change(folder)
            if machine.stream is None:
                command(*words)
            else:
                _told(words, machine.stream())

        outcome = forked(act, 60)
        kinds = [
            (path, path.is_fifo(), path.is_char_device(), path.is_symlink()) for path in sorted(folder.glob("out*"))
        ]
        wrong = _wrong(machine, outcome) or (
            "the device, FIFO or link is something else now"
            if any(odd in machine.name for odd in ("a device", "a FIFO", "a link"))
            and not any(any(k[1:]) for k in kinds)
            else None
        )
        left = leftovers(folder, before)
        _count(tally, machine.name, outcome, wrong or (f"left: {', '.join(left)}" if left else None))


def _wrong(machine: Machine, outcome: Outcome) -> str | None:
    if outcome.kind not in machine.expected:
        return f"{outcome.kind}: {outcome.message}"
    if outcome.kind == "refused" and machine.says not in outcome.message:
        return f"does not say '{machine.says}': {outcome.message}"
    if machine.never and machine.never in outcome.message:
        return f"says '{machine.never}': {outcome.message}"
    return None


def _count(tally: Tally, name: str, outcome: Outcome, wrong: str | None) -> None:
    verdict = (
        "fine"
        if wrong is None
        else {"traceback": "TRACEBACK", "hang": "HANG", "crash": "CRASH"}.get(outcome.kind, "WRONG")
    )
    tally.counts[verdict] += 1
    if wrong is not None:
        tally.findings.append(Finding("machines", verdict, name, f"--part machines --family '{name}'", wrong))


def _told(words: list[str], stream: Any) -> None:
    """Run a command with a stream for standard output, as an interpreter would."""
    from llmrec.cli import main

    said, status = io.StringIO(), None
    sys.stdout, sys.stderr = stream, said
    try:
        main(words)
    except SystemExit as stop:
        status = stop.code
    if stream is not None and not isinstance(stream, io.TextIOWrapper):
        stream.flush()
    if status == 2:
        raise Refused(said.getvalue())
    if status in (1, 120, 141) and not said.getvalue().strip():  # as a program whose reader is gone ends
        return
    if status not in (0, None):
        raise RuntimeError(f"status {status}: {said.getvalue()[-300:]}")


# disks ----------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _disk(options: str) -> Iterator[Path | None]:
    """A file system in memory; None where none may be mounted."""
    place = Path(tempfile.mkdtemp(prefix="attack-disk-"))
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    try:
        yield place if done.returncode == 0 else None
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "-l", place], capture_output=True, check=False)
        shutil.rmtree(place, ignore_errors=True)


@contextlib.contextmanager
def _prepared(name: str, shop: Shop) -> Iterator[tuple[Any, Path, Path] | None]:
    """A deed, a disk of its own, and a folder there with an old output; None where nothing may be mounted."""
    deed = DEEDS[name]
    with _disk("size=32m") as disk:
        if disk is None:
            yield None
            return
        folder = disk / "work"
        folder.mkdir()
        forked(partial(deed.prepare, folder, shop, True), 120)
        yield deed, disk, folder


_DISK_DEEDS: Final = (
    "rank",
    "rank save",
    "import",
    "holdout",
    "embed",
    "index add",
    "select",
    "evaluate",
    "results",
    "tune",
)


def _disk_full(tally: Tally, what: str, name: str, shop: Shop) -> None:
    """A disk with room for the old output and a little more."""
    with _prepared(name, shop) as there:
        if there is None:
            return
        deed, disk, folder = there
        before = forked(partial(deed.look, folder, shop), 60)
        _fill(disk / "filler", 1 << 12)
        outcome = forked(partial(deed.act, folder, shop), 120)
        (disk / "filler").unlink()
        after = forked(partial(deed.look, folder, shop), 60)
        wrong = None
        if outcome.kind != "refused" or "full" not in outcome.message:
            wrong = f"{outcome.kind}: {outcome.message}"
        elif after != before:
            wrong = "the old output is another"
        elif left := leftovers(disk, set()):
            wrong = f"left: {', '.join(left)}"
        _count(tally, what, outcome, wrong)


def _fill(path: Path, leave: int) -> None:
    with path.open("wb", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(bytes(1 << 16))
    with path.open("ab", buffering=0) as handle, contextlib.suppress(OSError):
        while True:
            handle.write(bytes(512))
    os.truncate(path, path.stat().st_size - leave)


def _disk_read_only(tally: Tally, what: str, name: str, shop: Shop) -> None:
    """A disk that cannot be written, which is not called full."""
    with _prepared(name, shop) as there:
        if there is None:
            return
        deed, disk, folder = there
        subprocess.run(["mount", "-o", "remount,ro", disk], capture_output=True, check=False)
        outcome = forked(partial(deed.act, folder, shop), 120)
        fine = outcome.kind == "refused" and "full" not in outcome.message
        _count(tally, what, outcome, None if fine else f"{outcome.kind}: {outcome.message}")


_LINKED: Final = ("rank", "rank save", "import", "embed", "evaluate", "results", "holdout")


def _link(tally: Tally, what: str, name: str, shop: Shop) -> None:
    """A symlink's target is what is replaced, in its own folder, and the link stays."""
    deed = DEEDS[name]
    with tempfile.TemporaryDirectory(prefix="attack-") as place:
        there, here = Path(place) / "there", Path(place) / "here"
        there.mkdir()
        here.mkdir()
        forked(partial(deed.prepare, there, shop, True), 120)
        before = forked(partial(deed.look, there, shop), 60)
        for output in deed.outputs:
            if output != "run.json":
                (here / output).symlink_to(there / output)
        outcome = forked(partial(deed.act, here, shop), 120)
        after = forked(partial(deed.look, there, shop), 60)
        wrong = None
        if outcome.kind != "answered":
            wrong = f"{outcome.kind}: {outcome.message}"
        elif not (here / deed.outputs[0]).is_symlink():
            wrong = "the link is gone"
        elif after == before or after.kind != "answered":
            wrong = f"the target is not replaced: {after.kind} {after.message}"
        _count(tally, what, outcome, wrong)


def _locale_c(tally: Tally, what: str, name: str, shop: Shop) -> None:
    """The whole program under LC_ALL=C, in an interpreter of its own."""
    words = SIMILAR.replace("$", str(shop.root)).split()
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("LD_PRELOAD", None)
    code = "import sys; from llmrec.cli import main; main(sys.argv[1:])"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, env=environment, check=False)
    kind = "answered" if done.returncode == 0 else "traceback"
    wrong = None if done.returncode == 0 else done.stderr.decode(errors="replace").splitlines()[-1]
    _count(tally, what, Outcome(kind), wrong)
