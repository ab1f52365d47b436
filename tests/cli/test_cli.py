"""The command line as a user meets it: help, status, one-line errors, and the commands that the documents show."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from llmrec import __version__
from llmrec.cli import app, main, status_of
from llmrec.cli.document import asked_for
from llmrec.cli.flags import command_of
from llmrec.data.store import Store
from llmrec.titles.settings import GenerateConfig
from tests.places import ROOT

COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*((?:accelerate launch|llmrec|python scripts/gen\.py) .*)$")


def verbs() -> list[list[str]]:
    found = []
    for name, command in app.commands.items():
        inner = getattr(command, "commands", None)
        found += [[name, *([verb] if verb else [])] for verb in (inner or [""])]
        if name == "embed":  # a verb as well, under its own name
            found = [[name] if words == [name, "products"] else words for words in found]
    return found


def llmrec(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from llmrec.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def rendered(command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("verb", [[], *verbs()], ids=lambda words: " ".join(words) or "llmrec")
def test_help_has_an_example_and_fits_80_columns(
    verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = rendered(verb, monkeypatch, capsys)
    assert not verb or "Example: llmrec " + " ".join(verb) in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 80
    assert not re.search(r"\w…", text)  # cut


def test_help_of_all_verbs_loads_no_library() -> None:
    code = (
        "import sys; from llmrec.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print({'torch', 'transformers', 'pandas', 'numpy', 'pyarrow', 'llmrec.rankers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "set()"


def test_version() -> None:
    assert llmrec("--version").stdout == f"llmrec {__version__}\n"


def test_changelog_starts_with_this_version() -> None:
    found = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    assert found[1] == __version__


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "import", "nowhere", "store"], "nowhere"),
        (["data", "synth", "out", "--size", "huge"], "huge"),
        (["evaluate", "no.parquet", "--targets", "no.csv"], "no.parquet: no such run"),
        (["prompts", "render", "plain", "--data", "none", "--session", "1"], "none: no store here"),
        (["prompts", "render", "plan", "--data", "none", "--session", "1"], "did you mean 'plain'"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = llmrec(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--k 0", "--k must be at least 1; got 0"),
        ("--recipe demoo", "no recipe 'demoo'; did you mean 'demo'?"),
        ("--learning-rate -1", "--learning-rate must be above 0; got -1"),
        ("--schedule step", "--schedule must be one of linear, cosine, constant; got 'step'"),
        ("--data none", "none: no store here; make one: llmrec data import SRC none"),
        ("--data {store} --model {store}", "no config.json in this folder"),
        ("--data {store} --split test_task9", "no split 'test_task9'"),
    ],
)
def test_wrong_settings_of_gen_are_one_line_and_status_2(
    tmp_path: Path, tiny_store: Store, capfd: pytest.CaptureFixture[str], flags: str, message: str
) -> None:

    arguments = [*flags.format(store=tiny_store.path).split(), "--output-dir", str(tmp_path / "out")]
    assert status_of(["generate", *arguments]) == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_fp16_is_refused(tiny_store: Store, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:

    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "fp16")  # what `accelerate launch --mixed_precision fp16` sets
    assert status_of(["generate", "--data", str(tiny_store.path)]) == 2
    assert capfd.readouterr().err == "error: mT5 overflows in fp16; use --mixed_precision bf16 or no\n"


def test_a_store_of_another_version_is_one_line(tiny_store: Store) -> None:
    manifest = tiny_store.path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version": 1', '"version": 99'), encoding="utf-8")
    done = llmrec("prompts", "render", "plain", "--data", str(tiny_store.path), "--session", "1")
    assert done.returncode == 2
    assert "of version 99, this llmrec reads 1; import again" in done.stderr


def documented() -> list[str]:
    """Every `llmrec …` and `scripts/gen.py …` line in the documents and docstrings."""
    docs = set((ROOT / "docs").rglob("*.md")) - {ROOT / "docs" / "extending.md"}  # of verbs that its test adds
    files = [ROOT / "README.md", *sorted(docs), *sorted((ROOT / "scripts").glob("*.py"))]
    commands = []
    for file in files:
        for line in file.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            found = re.search(
                r"^\s*(?:[A-Z_]+=\S+ )*((?:accelerate launch|llmrec|python scripts/gen\.py) .*)$", line.strip("`$ ")
            )
            if found and "…" not in line and not re.match(r"`[^`]+`.", line.strip()):  # a sentence that begins so
                commands.append(found[1].strip())
    return sorted(set(commands))


@pytest.mark.parametrize("command", documented())
def test_documented_commands_parse(command: str) -> None:
    words = shlex.split(command, comments=True)
    if "scripts/gen.py" in words:
        for config in (word for word in words if word.startswith("accelerate_configs/")):
            assert (ROOT / config).is_file()
        seen = []
        flags = words[words.index("scripts/gen.py") + 1 :]
        command_of(GenerateConfig, seen.append, None)(args=flags, standalone_mode=False)
        assert isinstance(seen[0], GenerateConfig)
        return
    if "scripts/rank.py" in words:
        words = ["llmrec", "rank", *words[words.index("scripts/rank.py") + 1 :]]
    group = app
    words = words[1:]
    while hasattr(group, "commands") and words and not words[0].startswith("-"):
        implied = getattr(group, "DEFAULT", None)
        group = group.commands[words.pop(0) if words[0] in group.commands else implied]
    if words == ["--help"]:
        return  # of a group or verb that is there
    if hasattr(group, "verb"):
        words = asked_for(words, group.verb.job).words  # without --json and --quiet
    group.make_context("llmrec", words)


def test_documented_paths_exist() -> None:
    for file in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for path in re.findall(r"\]\((?!http)([^)#]+)\)", file.read_text(encoding="utf-8")):
            assert (file.parent / path).exists(), f"{file.name}: {path}"
