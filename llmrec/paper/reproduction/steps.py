"""Commands that are run once: each in a process of its own, with a log, and a note when it has finished."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

from msgspec import Meta

import llmrec
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.provenance import command_line
from llmrec.paper.reproduction.templates import fill
from llmrec.records import read_record, write_record

__all__ = ["Done", "StepFailed", "StepRunner", "shown"]

_CLI: Final = "import sys; sys.argv[0] = 'llmrec'; from llmrec.cli import main; main()"
_FRESH: Final[Mapping[str, tuple[str, ...]]] = {"resume": (), "overwrite": ("--overwrite",)}
_RESUMED: Final[Mapping[str, tuple[str, ...]]] = {"resume": ("--resume",), "overwrite": ("--resume",)}


class StepFailed(Exception):  # noqa: N818 - not an error of the user's: its row fails, the others go on
    """A command ended with another status than 0."""


@dataclass(frozen=True)
class Done:
    """A finished command: as it is typed, and its seconds."""

    command: str
    seconds: Annotated[float, Meta(ge=0)]


@dataclass
class StepRunner:
    """Where commands of one data folder are run, and which of them have finished.

    Attributes:
        out: Folder for everything that is made.
        fingerprint: Of the data: another one and nothing that was made counts.
        resume: Let what an earlier call finished stand.
        launch: accelerate's configuration for trainings; one process if not given.
        done: Commands finished in this call.
        failed: Commands that failed in this call, and how: another row that needs one fails at once.
    """

    out: Path
    fingerprint: str
    resume: bool = False
    launch: Path | None = None
    done: dict[str, Done] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def run(self, template: str, values: Mapping[str, Any]) -> Done:
        """Run a command, unless it has finished.

        Args:
            template: The command; ``{resume}`` becomes the flag where an earlier call is gone on with, ``{overwrite}``
                the flag where it is not.
            values: What its places stand for.

        Raises:
            StepFailed: it ended with another status than 0; the message is its last line.
            ConfigError: a place without a value.
        """
        plain = fill(template, {**values, **dict.fromkeys(_FRESH, ())})
        key = hashlib.sha256(f"{self.fingerprint} {shlex.join(plain)}".encode()).hexdigest()[:16]
        noted = self.out / "steps" / f"{key}.json"
        if key in self.failed:
            raise StepFailed(self.failed[key])
        if key not in self.done and self.resume and noted.is_file():
            with contextlib.suppress(DataError):
                self.done[key] = Done(shown(plain), read_record(noted, Done, "").seconds)
        if key not in self.done:
            words = fill(template, {**values, **(_RESUMED if self.resume else _FRESH)})
            noted.unlink(missing_ok=True)
            self.done[key] = Done(shown(plain), self._seconds(words, key))
            write_record(noted, self.done[key])
        return self.done[key]

    def _seconds(self, words: Sequence[str], key: str) -> float:
        log = self.out / "logs" / f"{key}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        started = time.monotonic()
        with log.open("wb") as handle:
            handle.write(f"{shlex.join(words)}\n".encode())
            handle.flush()
            done = subprocess.run(self._process(words), stdout=handle, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            self.failed[key] = f"{words[0]} ended with status {done.returncode}: {lines[-1].strip()} (log: {log})"
            raise StepFailed(self.failed[key])
        return round(time.monotonic() - started, 1)

    def _process(self, words: Sequence[str]) -> list[str]:
        if words[0] == "llmrec":
            return [sys.executable, "-c", _CLI, *words[1:]]
        script = Path(llmrec.__file__).resolve().parents[1] / words[0]
        if not script.is_file():
            raise ConfigError(f"{words[0]} comes with a checkout, not with the installed package; run llmrec from one")
        if self.launch is None:
            return [sys.executable, str(script), *words[1:]]
        if not self.launch.is_file():
            raise DataError(f"{self.launch}: no such accelerate configuration; accelerate_configs/ holds some")
        launcher = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(self.launch)]
        return [*launcher, str(script), *words[1:]]


def shown(words: Sequence[str]) -> str:
    """A command as somebody else types it: no path of this machine above the current folder."""
    typed = shlex.join([words[0], *command_line(words)[1:]])
    return f"accelerate launch {typed}" if words[0].endswith(".py") else typed
