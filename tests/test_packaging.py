"""The wheel: what it holds, and that it works in an empty environment."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

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


@pytest.mark.slow
def test_the_wheel_works_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "-c", str(ROOT / "constraints.txt"), str(wheel)]
    subprocess.run(pip, check=True, cwd=tmp_path)
    llmrec = str(tmp_path / "venv" / "bin" / "llmrec")
    for arguments in (
        ["data", "synth", "raw"],
        ["data", "import", "raw", "store"],
        ["prompts", "list"],
    ):
        done = subprocess.run([llmrec, *arguments], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert "plain_v1" in done.stdout
    asked = [llmrec, "prompts", "export", "plain", "--data", "store", "--split", "validation", "--out", "prompts"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 2
    assert "pip install 'llmrec[generate]'" in done.stderr
