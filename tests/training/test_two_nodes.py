"""The same training on two machines of two processes as in one process; a machine that is lost ends the other."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from llmrec.data.store import Store
from tests.places import ROOT
from tests.training.two_nodes import Nodes, two_nodes, why_not

pytestmark = pytest.mark.slow
# Sums of four shares instead of one are other float32 roundings, about 1e-7 each, that some dozens of steps amplify.
SAME_LOSS = 1e-5
GRU = (
    "rank.py gru4rec --set max_epochs=8 --set dropout_prob=0 --set embedding_size=16 --set hidden_size=16 "
    "--set batch_size=16 --set checkpoint_every=1 --set patience=100 --set validation_share=0.2"
)
TITLES = (
    "gen.py --k 2 --base-model tiny --tiny-width 32 --tiny-layers 1 --tiny-vocab 400 --max-steps 12 --eval-every 4 "
    "--batch-size 8 --learning-rate 1e-2 --max-target-tokens 12 --max-source-tokens 64 --generate-batch-size 4"
)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    if reason := why_not():
        pytest.skip(reason)
    with two_nodes(tmp_path_factory.mktemp("nodes")) as found:
        yield found


def words(flags: str, **paths: Path) -> list[str]:
    """A script below ``scripts/`` and its flags, those of the paths behind."""
    script, *rest = shlex.split(flags)
    return [f"scripts/{script}", *rest, *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]


def ended(nodes: Nodes, command: list[str], first: str = "") -> list[str]:
    """What both nodes said; they must end well."""
    ends = [one.end(timeout=200) for one in nodes.launch(*command, first=first)]
    assert [status for status, _ in ends] == [0, 0], ends
    return [said for _, said in ends]


def alone(command: list[str]) -> None:
    env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def losses(folder: Path, *names: str) -> np.ndarray:
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return np.array([[json.loads(line)[name] for name in names] for line in lines])


def test_a_neural_ranker_learns_the_same_and_goes_on_with_fewer(
    nodes: Nodes, tiny_store: Store, tmp_path: Path
) -> None:
    (train,) = tiny_store.labelled("development").files
    alone(words(GRU, train=train, checkpoints=tmp_path / "one", save=tmp_path / "ranker1"))
    ended(nodes, words(GRU, train=train, checkpoints=tmp_path / "four", save=tmp_path / "ranker4"))
    expected = losses(tmp_path / "one", "train_loss", "score")
    assert losses(tmp_path / "four", "train_loss", "score") == pytest.approx(expected, rel=SAME_LOSS)

    folder = tmp_path / "killed"
    command = words(GRU, train=train, checkpoints=folder, save=tmp_path / "ranker3")
    running = nodes.launch(*command)
    until = time.monotonic() + 200
    while not list((folder / "checkpoints").glob("step-*")):
        assert time.monotonic() < until
        time.sleep(0.01)
    nodes.kill(1)
    killed = time.monotonic()
    status, said = running[0].end(timeout=60)
    assert time.monotonic() - killed < 60
    assert status > 0
    running[1].end(timeout=0)
    assert said.count("error: ") == 1
    assert " is gone: it was killed, or its machine or network failed; " in said
    assert not (tmp_path / "ranker3").exists()
    alone([*command, "--resume"])
    assert losses(folder, "train_loss", "score") == pytest.approx(expected, rel=SAME_LOSS)


def test_titles_and_vectors_are_those_of_one_process(nodes: Nodes, tiny_store: Store, tmp_path: Path) -> None:
    for name, run in (("one", alone), ("four", lambda command: ended(nodes, command))):
        run(words(TITLES, data=tiny_store.path, **{"output-dir": tmp_path / name}))  # type: ignore[operator]
    expected, found = (losses(tmp_path / name, "train_loss", "validation_loss") for name in ("one", "four"))
    assert found == pytest.approx(expected, rel=SAME_LOSS)
    model, both = tmp_path / "four" / "model", {}
    flags = "gen.py --generate-batch-size 4 --backend transformers --decode-precision fp32"
    alone(words(flags, model=model, data=tiny_store.path, **{"output-dir": tmp_path / "again"}))
    for name in ("four", "again"):
        both[name] = pq.read_table(tmp_path / name / "titles_validation.parquet").to_pydict()
    assert both["four"] == both["again"]

    program = tmp_path / "embed.py"
    program.write_text("import sys\nfrom llmrec.cli import main\nmain(['embed', *sys.argv[1:]])\n")
    for name, run in (("vectors1", alone), ("vectors4", lambda command: ended(nodes, command))):
        run([str(program), str(tiny_store.products), "--out", str(tmp_path / name)])  # type: ignore[operator]
    one, four = (np.load(tmp_path / name / "vectors.npy") for name in ("vectors1", "vectors4"))
    assert np.array_equal(one, four)


@pytest.mark.parametrize(
    ("what", "why"), [("inputs", "no store here"), ("outputs", "name a folder that all machines share")]
)
def test_a_folder_of_one_machine_alone_is_one_line(
    nodes: Nodes, tiny_store: Store, tmp_path: Path, what: str, why: str
) -> None:
    """The second machine has an empty folder of its own over that of the inputs or the outputs."""
    (tmp_path / "out").mkdir()
    hidden = tiny_store.path if what == "inputs" else tmp_path / "out"
    command = words(TITLES, data=tiny_store.path, **{"output-dir": tmp_path / "out" / "run"})
    ends = [one.end(timeout=200) for one in nodes.launch(*command, first=f"mount -t tmpfs none {hidden}")]
    for status, text in ends:
        assert status > 0
        (line,) = [one for one in text.splitlines() if one.startswith("error: ")]
        assert str(hidden) in line
        assert why in line
    assert not list((tmp_path / "out").rglob("*.parquet"))
