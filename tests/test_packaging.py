"""The wheel: what it holds, and that it works in an empty environment."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from llmrec.data.store import Store
from llmrec.evaluation.modules import METRICS
from llmrec.files import shipped_folder
from llmrec.paper.reproduction.recipe import table_names
from llmrec.settings import recipe_names
from tests.places import ROOT


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_prompts_configurations_recipes_and_types(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for folder in ("prompts", "accelerate_configs"):
        for file in shipped_folder(folder).rglob("*.yaml"):
            assert f"llmrec/shipped/{folder}/{file.relative_to(shipped_folder(folder)).as_posix()}" in names
    assert {f"llmrec/recipes/{name}.yaml" for name in recipe_names()} <= names
    assert {f"llmrec/paper/recipes/{name}.yaml" for name in (*table_names(), "methods", "protocols")} <= names
    assert {"llmrec/py.typed", "llmrec/synth/words.yaml", "llmrec/synth/families.yaml"} <= names
    assert {f"llmrec/reporting/templates/{name}" for name in ("page.html", "blocks.html", "page.css")} <= names
    assert {f"llmrec/evaluation/modules/{name}/{name}.py" for name in METRICS} <= names
    assert not [name for name in names if name.startswith(("tests/", "scripts/"))]


@pytest.mark.parametrize("name", sorted(path.stem for path in shipped_folder("accelerate_configs").glob("*.yaml")))
def test_every_hardware_file_is_one_that_accelerate_loads(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = shipped_folder("accelerate_configs") / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.num_processes == yaml.safe_load(path.read_text(encoding="utf-8"))["num_processes"]
    assert config.mixed_precision in ("no", "bf16")


def needed(wheel: Path, extras: tuple[str, ...]) -> set[str]:
    """What pip installs beside a wheel with some extras."""
    found: set[str] = set()
    (ours,) = metadata.distributions(path=[str(wheel)])
    waiting = [(ours, {"", *extras})]
    while waiting:
        package, wanted = waiting.pop()
        for one in map(Requirement, package.requires or ()):
            asked = one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in wanted)
            if asked and (one.extras or one.name not in found):
                found.add(one.name)
                waiting.append((metadata.distribution(one.name), {"", *one.extras}))
    return found


def linked(folder: Path, wheel: Path, extras: tuple[str, ...]) -> None:
    """Make an environment that holds the wheel and links to what pip would install beside it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    for name in needed(wheel, extras):
        package = metadata.distribution(name)
        for top in {file.parts[0] for file in package.files or ()} - {"..", "__pycache__"}:
            if not (site / top).exists():
                (site / top).symlink_to(str(package.locate_file(top)))
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)


def downloaded(folder: Path, wheel: Path, extras: tuple[str, ...]) -> None:
    """The same as a user makes it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    named = f"llmrec[{','.join(extras)}] @ {wheel.as_uri()}"
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", named]
    subprocess.run(pip, check=True, cwd=folder)


@pytest.fixture(scope="module", params=[linked, pytest.param(downloaded, marks=pytest.mark.slow)])
def installed(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Callable[..., Path]:
    """Makes an environment of nothing but the wheel with some extras; gives its programs."""

    @functools.cache
    def programs(*extras: str) -> Path:
        folder = tmp_path_factory.mktemp("environment")
        request.param(folder, wheel, extras)
        return folder / "bin"

    return programs


def run(folder: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, away from the checkout."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"COLUMNS": "200", "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)


@pytest.mark.parametrize(
    ("name", "extras"), [("rank", ()), ("own_ranker", ()), ("search", ("search",)), ("titles", ("generate",))]
)
def test_the_newcomers_scripts_run_in_an_empty_environment(
    name: str, extras: tuple[str, ...], installed: Callable[..., Path], title_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").symlink_to(title_model)
    done = run(tmp_path, installed(*extras) / "python", ROOT / "tests" / "newcomer" / f"{name}.py")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_titles_are_written_by_the_installed_command(
    installed: Callable[..., Path], title_model: Path, tiny_store: Store, tmp_path: Path
) -> None:
    places = ("--model", title_model, "--data", tiny_store.path, "--split", "validation", "--out", "titles.parquet")
    done = run(tmp_path, installed("generate") / "llmrec", "generate", *places, "--limit", "3")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "titles.parquet").is_file()


def test_without_any_extra_data_is_made_and_every_verb_tells_its_flags(
    installed: Callable[..., Path], tmp_path: Path
) -> None:
    code = (
        "from llmrec.cli import status_of; from llmrec.cli.verbs import PANELS\n"
        "helps = [f'{verb.words} --help' for verbs in PANELS.values() for verb in verbs]\n"
        "done = 'data synth raw --size tiny,data import raw store,prompts list,stats store,doctor'.split(',')\n"
        "raise SystemExit(any([status_of(words.split()) for words in helps + done]))"
    )
    done = run(tmp_path, installed() / "python", "-c", code)
    assert done.returncode == 0, done.stderr
    assert "pip install 'llmrec[search]'" in done.stdout
    assert (tmp_path / "store" / "products.parquet").is_file()


LACKING = {
    "demo": "generate,rank,search",
    "generate": "generate",
    "rank gru4rec --train sessions.csv --sessions asked.csv --out run.parquet": "rank",
    "rank fusion --train sessions.csv --sessions asked.csv --out run.parquet": "rank",
    "rank covisit_walk --train sessions.csv --sessions asked.csv --out run.parquet": "rank",
    "tune gru4rec --train sessions.csv --out best.yaml": "rank",
    "embed products.csv --out vectors": "search",
    "embed train --train sessions.csv --products products.csv --out encoder": "text",
    "similar vectors tea": "search",
    "prompts export plain --data store --split validation --out prompts": "generate",
}


def test_a_verb_that_lacks_its_packages_names_their_extra(installed: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "sessions.csv").write_text("prev_items,next_item,locale\n\"['a' 'b']\",c,UK\n", encoding="utf-8")
    (tmp_path / "asked.csv").write_text("prev_items,locale\n['c'],UK\n", encoding="utf-8")
    (tmp_path / "products.csv").write_text("id,locale,title\na,UK,tea\n", encoding="utf-8")
    code = f"from llmrec.cli import status_of; print([status_of(words.split()) for words in {list(LACKING)}])"
    done = run(tmp_path, installed() / "python", "-c", code)
    assert done.stdout == f"{[2] * len(LACKING)}\n"
    for line, extra in zip(done.stderr.splitlines(), LACKING.values(), strict=True):
        assert line.endswith(f"is not installed; pip install 'llmrec[{extra}]'"), line


def test_python_names_the_extra_that_is_missing(installed: Callable[..., Path], tmp_path: Path) -> None:
    calls = {
        "SimilarProducts": "search",
        "register_encoder": "search",
        "fit('narm', [['a', 'b']])": "rank",
        "TitleWriter.load('model')": "generate",
    }
    tries = (f"try: llmrec.{call}\nexcept llmrec.LlmrecError as error: print(error)" for call in calls)
    done = run(tmp_path, installed() / "python", "-c", "\n".join(("import llmrec", *tries)))
    for line, extra in zip(done.stdout.splitlines(), calls.values(), strict=True):
        assert line.endswith(f"is not installed; pip install 'llmrec[{extra}]'"), line


def test_the_source_archive_holds_tests_and_documents(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", tmp_path, ROOT]
    subprocess.run(command, capture_output=True, check=True)
    (archive,) = tmp_path.iterdir()
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    assert {"pyproject.toml", "README.md", "tests/conftest.py"} <= names
    assert {name for name in known if not name.startswith(".")} - names == set()
