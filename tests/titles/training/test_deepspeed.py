"""DeepSpeed for real, on the CPU: the losses of plain training, and titles from weights that lie in parts."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from llmrec.data.store import Store
from tests.conftest import TITLES
from tests.places import ROOT
from tests.titles.tiny_llm import write_tiny_llm

TINY = (
    "--k 2 --base-model tiny --tiny-width 32 --tiny-layers 1 --tiny-vocab 400 --max-steps 8 --eval-every 4 "
    "--batch-size 8 --learning-rate 1e-2 --max-target-tokens 12 --max-source-tokens 64 --generate-batch-size 8 "
    "--best-by bleu --num-beams 2"
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module", autouse=True)
def deepspeed_is_here() -> None:
    pytest.importorskip("deepspeed")


def trained(store: Store, out: Path, flags: str, *, stage: int = 0, processes: int = 1) -> list[dict[str, float]]:
    """History of a training, with DeepSpeed where a stage is given."""
    launcher: list[str] = []
    if stage:
        launcher = ["-m", "accelerate.commands.launch", "--use_deepspeed", "--zero_stage", str(stage)]
        launcher += ["--num_processes", str(processes), "--num_machines", "1", "--mixed_precision", "no"]
        launcher += ["--dynamo_backend", "no", "--main_process_port", "0", "--zero3_save_16bit_model", "true"]
    command = [sys.executable, *launcher, str(ROOT / "scripts" / "gen.py"), "--data", str(store.path)]
    command += ["--output-dir", str(out), *shlex.split(flags)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same(plain: list[dict[str, float]], shared: list[dict[str, float]]) -> None:
    for one, other in zip(plain, shared, strict=True):
        for key in ("train_loss", "validation_loss", "validation_bleu"):
            assert one[key] == pytest.approx(other[key], rel=1e-4, abs=1e-6), key


@pytest.mark.parametrize(
    ("stage", "processes", "extra"), [(2, 1, ""), (2, 1, " --micro-batch-size 1"), (3, 1, ""), (3, 2, "")]
)
def test_each_stage_trains_and_beam_searches_as_one_plain_process(
    tmp_path: Path, tiny_store: Store, stage: int, processes: int, extra: str
) -> None:
    plain = trained(tiny_store, tmp_path / "plain", TINY)
    assert_same(plain, trained(tiny_store, tmp_path / "zero", TINY + extra, stage=stage, processes=processes))
    plain_titles, titles = (tmp_path / name / "titles_validation.parquet" for name in ("plain", "zero"))
    assert pq.read_table(plain_titles).to_pydict() == pq.read_table(titles).to_pydict()


@pytest.mark.parametrize("stage", [2, 3])
def test_adapters_are_trained_and_saved_under_zero(tmp_path: Path, tiny_store: Store, stage: int) -> None:
    base = write_tiny_llm(tmp_path / "llm", [title for locale in TITLES.values() for title in locale])
    flags = f"--base-model {base} --lora-rank 4 --pack --k 2 --max-steps 6 --eval-every 3 --batch-size 8 "
    flags += "--learning-rate 2e-2 --checkpoint-every 4 --max-target-tokens 12 --max-source-tokens 64 --best-by bleu"
    plain = trained(tiny_store, tmp_path / "plain", flags)
    assert_same(plain, trained(tiny_store, tmp_path / "zero", flags, stage=stage))
    ours, theirs = (load_file(tmp_path / name / "model" / "adapter_model.safetensors") for name in ("plain", "zero"))
    assert ours.keys() == theirs.keys()
    assert all(weight.shape == theirs[name].shape for name, weight in ours.items())
