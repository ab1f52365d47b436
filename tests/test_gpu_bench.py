"""`scripts/bench/gpu.sh` at toy size on a CPU: every step runs and finds equal losses, titles and ids."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bench.gpu import STEPS, search, train_t5, write
from bench.gpu import gpu as run_all

from tests.places import ROOT


@pytest.mark.slow
def test_the_script_rehearses_every_step(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", "LLMREC_BENCH_TOY": "1"}
    command = ["bash", str(ROOT / "scripts" / "bench" / "gpu.sh")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    steps = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]
    assert list(steps) == list(STEPS)
    for name, found in steps.items():
        assert "missing" in found or "equal" in found, (name, found)
    for name in ("mT5-small", "mT5-base", "LoRA, 270 M", "ZeRO"):
        assert "missing" in steps[name] or float(steps[name]["equal"].split()[-1]) < 1e-4, steps[name]
    for name in ("writing, mT5-small", "writing, 270 M"):
        assert steps[name]["equal"] == "3 of 3 titles equal"


def test_a_toy_trains_writes_and_searches_as_the_plain_way_does() -> None:
    trained = train_t5("", toy=True, _="")
    assert float(trained["equal"].split()[-1]) < 1e-4
    assert all(one["title_tokens_s"] > 0 and one["flop_s"] > 0 for way, one in trained.items() if way != "equal")
    assert write("t5", toy=True, file="")["equal"] == "3 of 3 titles equal"
    assert search("", toy=True, __="")["equal"] == "100.00% of ids equal"


def test_what_is_missing_is_said_and_the_rest_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(STEPS, "ZeRO", (*STEPS["ZeRO"][:3], "no_such_package"))
    run_all(toy=True, only=["ZeRO"], causal="", peak=100.0, result=tmp_path / "found.json")
    assert "no_such_package is not installed" in capsys.readouterr().err
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert found["peak_tflops"] == 100
    assert "missing" in found["steps"]["ZeRO"]
