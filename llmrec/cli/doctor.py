"""``llmrec doctor``: what this machine has, lacks, and can run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmrec import __version__
from llmrec.cli.verbs import PANELS
from llmrec.console import busy, table
from llmrec.console import out as out_console
from llmrec.memory import free_memory, readable

__all__ = ["DoctorJob", "Extra", "doctor", "extras_of"]

_REQUIREMENT: Final = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[^]]*\])?[^;]*(?:;.*extra == ['\"](?P<extra>[\w-]+)['\"])?"
)
_SHOWN: Final = (
    "generate",
    "rank",
    "search",
    "text",
    "onnx",
    "e5",
    "spark",
    "deepspeed",
    "fast",
    "lora",
    "hub",
    "chat",
    "serve",
    "mcp",
    "dev",
)
_OTHER_NAMES: Final = {"faiss-cpu": ("faiss-gpu-cu12", "faiss-gpu")}  # packages that do the same


@dataclass(frozen=True, kw_only=True)
class DoctorJob:
    """Nothing to choose.

    Example: llmrec doctor

    Example: llmrec doctor --json
    """


@dataclass(frozen=True)
class Extra:
    """An extra of the package.

    Attributes:
        name: As in ``pip install 'llmrec[NAME]'``.
        versions: Installed packages.
        missing: Packages that are not.
    """

    name: str
    versions: Mapping[str, str]
    missing: Sequence[str]

    @property
    def mend(self) -> str:
        """The command that installs what is missing; empty where nothing is."""
        if list(self.missing) == ["recbole"]:
            return "pip install --no-deps recbole==1.2.1"
        return f"pip install 'llmrec[{self.name}]'" if self.missing else ""


def doctor(_: DoctorJob) -> dict[str, Any]:
    """Look, print, and give what was found."""
    with busy("look at this machine"):
        extras = {one.name: one for one in extras_of(importlib.metadata.requires("llmrec") or [])}
        machine, models = _machine(), _models()
    verbs = [_verb(verb, extras) for panel in PANELS.values() for verb in panel]
    out_console.print(
        table("This machine", ("", ""), [(key.replace("_", " "), str(value)) for key, value in machine.items()])
    )
    rows = [(one.name, _state(one), one.mend) for one in extras.values()]
    out_console.print(_left(table("Extras", ("extra", "packages", "to mend"), rows)))
    if models:
        out_console.print(_left(table("Models in reach", ("model", "where"), [tuple(one.values()) for one in models])))
    short = [tuple(verb.values()) for verb in verbs if verb["to_mend"]]
    if short:
        out_console.print(_left(table("Verbs that lack something", ("verb", "can run", "to mend"), short)))
    else:
        out_console.print(f"all {len(verbs)} verbs can run")
    found = {name: {"versions": dict(one.versions), "missing": list(one.missing)} for name, one in extras.items()}
    return {"machine": machine, "extras": found, "verbs": verbs, "models": models}


def extras_of(requirements: Sequence[str]) -> list[Extra]:
    """Extras and what is installed of each, from a package's requirements as its metadata holds them."""
    packages: dict[str, list[str]] = {}
    for requirement in requirements:
        found = _REQUIREMENT.match(requirement)
        if found and found["extra"] in _SHOWN:
            packages.setdefault(found["extra"], []).append(found["name"])
    made = []
    for extra in _SHOWN:
        names = packages.get(extra, [])
        names += ["recbole"] if extra == "rank" else []  # which goes in apart, see pyproject.toml
        versions = {name: version for name in names if (version := _version(name))}
        made.append(Extra(extra, versions, [name for name in names if name not in versions]))
    return made


def _version(name: str) -> str:
    for one in (name, *_OTHER_NAMES.get(name, ())):
        try:
            return importlib.metadata.version(one)
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _state(extra: Extra) -> str:
    if extra.missing:
        return f"lacks {', '.join(extra.missing)}"
    return ", ".join(f"{name} {version}" for name, version in list(extra.versions.items())[:4])


def _verb(verb: Any, extras: Mapping[str, Extra]) -> dict[str, str]:
    """Whether a verb can run, and the command that mends it."""
    lacks = [name for name in verb.needs if extras[name].missing]
    partly = [(name, what) for name, what in verb.asks_for if extras[name].missing]
    runs = "no" if lacks else "yes" if not partly else "yes, but for " + ", ".join(what for _, what in partly)
    wanted = ",".join([*lacks, *(name for name, _ in partly)])
    return {"verb": verb.words, "can_run": runs, "to_mend": f"pip install 'llmrec[{wanted}]'" if wanted else ""}


def _machine() -> dict[str, Any]:
    free, disk = free_memory(), shutil.disk_usage(Path.cwd())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "llmrec": __version__,
        "python": f"{platform.python_version()} ({Path(sys.executable).name})",
        "system": f"{platform.system()} {platform.machine()}",
        "cores": cores,
        "memory_free": f"{readable(free.size)} ({free.source})",
        "disk_free": readable(disk.free),
        "gpu": _gpus() or "none",
        "bf16_on_cpu": _bf16(),
        "faiss": _faiss(),
        "java": _java(),
        "caches": ", ".join(f"{folder} {readable(_size(folder))}" for folder in _caches()) or "none yet",
    }


def _gpus() -> str:
    if not _version("torch"):
        return ""
    import torch

    cuda = torch.cuda
    if not cuda.is_available():
        return ""
    sizes = ((cuda.get_device_name(one), cuda.mem_get_info(one)) for one in range(cuda.device_count()))
    return ", ".join(f"{name} ({readable(free)} of {readable(total)} free)" for name, (free, total) in sizes)


def _bf16() -> str:
    if not _version("torch"):
        return "not measured, for torch is missing"
    from llmrec.titles.models.precision import bf16_speed

    speed = bf16_speed()
    return f"{speed:.2f} times as fast as fp32" + ("; compute in fp32" if speed < 1 else "")


def _faiss() -> str:
    gpu = next((name for name in _OTHER_NAMES["faiss-cpu"] if _plain_version(name)), "")
    return f"{gpu} {_plain_version(gpu)}" if gpu else f"faiss-cpu {_plain_version('faiss-cpu')}".strip()


def _plain_version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    command = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if not command or not Path(command).is_file():
        return "none (for --engine spark: Java 17)"
    try:
        done = subprocess.run([command, "-version"], capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return "found, but it does not start (for --engine spark: Java 17)"
    return (done.stderr or done.stdout).splitlines()[0].strip()


def _caches() -> list[Path]:
    known = [Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llmrec", _hub_cache()]
    return [folder for folder in known if folder.is_dir()]


def _hub_cache() -> Path:
    home = Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser()
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink())


def _models() -> list[dict[str, str]]:
    """Models that can be loaded without a download: those in the hub's cache, and those inside packages."""
    cached = sorted(_hub_cache().glob("models--*")) if _hub_cache().is_dir() else []
    found = [(folder.name.removeprefix("models--").replace("--", "/"), "the hub's cache") for folder in cached]
    for package in importlib.metadata.distributions():
        for file in package.files or ():
            if file.suffix == ".gguf" or file.name == "modules.json":
                place = Path(str(package.locate_file(file)))
                held = place if file.suffix == ".gguf" else place.parent
                found.append((str(held), f"package {package.name}"))
    return [{"model": model, "where": where} for model, where in found]


def _left(made: Any) -> Any:
    for column in made.columns:
        column.justify = "left"
    return made
