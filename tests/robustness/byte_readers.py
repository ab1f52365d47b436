"""What parses bytes, as functions of bytes: an error of ours or a value, never anything else.

Hypothesis draws the bytes in the tests; Atheris, where it is installed, follows the branches that they take.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tests.robustness.suite import Finding, Tally

__all__ = ["READERS", "guided", "seeds"]


def _file(name: str, data: bytes) -> Path:
    path = Path(tempfile.gettempdir()) / f"attack-{os.getpid()}-{name}"
    path.write_bytes(data)
    return path


def sessions(data: bytes) -> None:
    """A CSV of sessions: its lists of ids."""
    from llmrec.rankers.sessions import read_session_files

    read_session_files(_file("sessions.csv", data))


def record(data: bytes) -> None:
    """A record of ours."""
    from llmrec.paper.reproduction.records import read_measurement

    read_measurement(_file("record.json", data))


def sidecar(data: bytes) -> None:
    """A result."""
    from llmrec.reporting.standings import read_entry

    read_entry(str(_file("result.json", data)))


def recipe(data: bytes) -> None:
    """A recipe."""
    from llmrec.settings import load_recipe

    load_recipe(str(_file("recipe.yaml", data)))


def prompt(data: bytes) -> None:
    """A prompt, tried out in every language."""
    from llmrec.text.prompts import load_prompt

    load_prompt(str(_file("prompt.yaml", data)))


def languages(data: bytes) -> None:
    """A file of languages."""
    from llmrec import languages as module

    os.environ[module.VARIABLE] = str(_file("languages.yaml", data))
    for cached in vars(module).values():
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    try:
        module.locales()
        module.own_phrases()
    finally:
        del os.environ[module.VARIABLE]


def answer(data: bytes) -> None:
    """A chat model's answer, cut to one title."""
    from llmrec.titles.decoding.title_in_answer import clean_title

    clean_title(data.decode("utf-8", "replace"))


READERS: Final[Mapping[str, Callable[[bytes], None]]] = {
    one.__name__: one for one in (sessions, record, sidecar, recipe, prompt, languages, answer)
}


def tried(reader: Callable[[bytes], None], data: bytes) -> None:
    """Read bytes; an error of ours is an answer."""
    from llmrec.errors import LlmrecError

    with contextlib.suppress(LlmrecError):
        reader(data)


def seeds(root: Path) -> dict[str, list[bytes]]:
    """Genuine bytes for each reader, of a shop."""
    where = {
        "sessions": "files/sessions.csv",
        "record": "records/records/table1/*.json",
        "sidecar": "results/*.json",
        "recipe": "recipe/own.yaml",
        "prompt": "prompt/own.yaml",
        "languages": "languages/own.yaml",
    }
    found = {name: [path.read_bytes() for path in root.glob(pattern)] for name, pattern in where.items()}
    return {**found, "answer": [b'<think>a</think> **Title:** "x"', "Titre : «x»".encode()]}


def guided(root: Path, seconds: int, seed: int) -> Tally:
    """Let Atheris look for bytes that break a reader; nothing where it is not installed."""
    tally = Tally("bytes, guided", Counter(), [])
    if importlib.util.find_spec("atheris") is None:
        tally.counts["skipped"] += 1
        return tally
    for name, examples in seeds(root).items():
        with tempfile.TemporaryDirectory(prefix="attack-corpus-") as place:
            for number, example in enumerate(examples):
                (Path(place) / f"seed{number}").write_bytes(example)
            words = [f"-max_total_time={seconds}", f"-seed={seed}", "-timeout=20", "-rss_limit_mb=6000", "-verbosity=0"]
            call = [
                sys.executable,
                "-m",
                "tests.robustness.byte_readers",
                name,
                place,
                *words,
                f"-artifact_prefix={place}/crash-",
            ]
            environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
            environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
            done = subprocess.run(call, capture_output=True, env=environment, check=False)
            crashes = sorted(Path(place).glob("crash-*"))
            tally.counts["fine" if done.returncode == 0 and not crashes else "TRACEBACK"] += 1
            if done.returncode or crashes:
                said = done.stderr.decode(errors="replace").splitlines()
                error = next((line for line in said if "Error" in line or "ERROR" in line), "".join(said[-1:]))
                kept = crashes[0].read_bytes()[:200] if crashes else b""
                tally.findings.append(
                    Finding(
                        "bytes, guided", "TRACEBACK", name, f"--part bytes --seed {seed}", f"{error[:200]} {kept!r}"
                    )
                )
    return tally


def _atheris(name: str) -> None:
    import atheris

    with atheris.instrument_imports(include=["llmrec"]):
        for module in ("rankers.sessions", "reporting.standings", "paper.reproduction.records", "text.prompts"):
            importlib.import_module(f"llmrec.{module}")
        importlib.import_module("llmrec.titles.decoding.title_in_answer")
    reader = READERS[name]
    atheris.Setup([sys.argv[0], *sys.argv[2:]], lambda data: tried(reader, data))
    atheris.Fuzz()


if __name__ == "__main__":
    _atheris(sys.argv[1])
