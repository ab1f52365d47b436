"""What a newcomer writes first: scripts of at most ten lines, run as they are in an empty folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import llmrec
from tests.places import ROOT

SCRIPTS = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.py")) if not path.stem.startswith("test_")}
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")


def code_of(script: Path) -> str:
    """A script without the docstring that begins it."""
    return script.read_text(encoding="utf-8").partition('"""\n\n')[2]


@pytest.fixture(scope="module")
def outputs(title_model: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, str]]:
    """Folder and output of each script."""
    found = {}
    for name, script in SCRIPTS.items():
        folder = tmp_path_factory.mktemp(name)
        if name == "titles":
            (folder / "model").symlink_to(title_model)
        done = subprocess.run([sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = folder, done.stdout
    return found


def test_the_scripts_do_what_they_say(outputs: dict[str, tuple[Path, str]]) -> None:
    folder, printed = outputs["rank"]
    assert "mrr@100" in printed
    assert llmrec.load_ranker(folder / "ranker").rank([["cup"]], k=1, locale="UK").to_list() == [["pot"]]
    _, printed = outputs["search"]
    assert printed.startswith("1 UK B1 USB-C cable 2 m")
    assert "id='B4'" in printed
    folder, printed = outputs["titles"]
    assert (folder / "titles.parquet").is_file()
    assert "title" in printed
    assert outputs["own_ranker"][1] == "[['tea', 'pot']]\n"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_has_ten_lines_and_is_shown_in_the_documents(name: str) -> None:
    code = code_of(SCRIPTS[name])
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    assert f"```python\n{code}```" in PAGE
