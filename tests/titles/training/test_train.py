"""Training as a user sees it: a recipe gives the same weights however it is cut into parts, stopped or shared."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from datasets import Dataset
from safetensors.torch import load_file

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, StoreError
from llmrec.evaluation.runs import read_run
from llmrec.text.prompts import load_prompt
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, load_model
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting.prompt_sessions import TrainingPrompts, build_prompt_sessions, build_training_prompts
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.fitting import micro_batches
from llmrec.titles.training.losses import title_loss
from llmrec.titles.training.train import train
from tests.conftest import TITLES
from tests.places import ROOT
from tests.titles.hub_mt5 import make_hub_mt5

CARD = ModelCard("plain_v1", "0" * 64, 2, 64, 16)
CONFIG = GenerateConfig(
    k=2, epochs=2, batch_size=8, learning_rate=1e-2, max_target_tokens=16, max_source_tokens=64, checkpoint_every=3
)
FLAGS = shlex.split(
    "--k 2 --base-model tiny --tiny-width 32 --tiny-layers 1 --tiny-vocab 400 --epochs 12 --batch-size 4 "
    "--checkpoint-every 4 --eval-every 20 --learning-rate 1e-2 --max-target-tokens 12 --max-source-tokens 64"
)


@pytest.fixture
def sessions(tiny_store: Store, tmp_path: Path) -> tuple[object, Dataset, Dataset]:
    titles = [f"{a} {b}" for a in ("Kettle", "Mouse", "Hose", "Kabel") for b in ("1.7 L", "15 m", "USB-C", "LED")]
    tokenizer = build_tokenizer(titles, 400)
    made = [
        build_prompt_sessions(
            tiny_store,
            split,
            k=2,
            prompt=load_prompt("plain_v1"),
            cache=tmp_path / "cache",
            tokenizer=tokenizer,
            max_source_tokens=64,
            max_target_tokens=16,
        )
        for split in ("development", "validation")
    ]
    return tokenizer, made[0], made[1]


def trained(folder: Path, sessions: tuple[object, Dataset, Dataset], config: GenerateConfig) -> dict[str, torch.Tensor]:
    AcceleratorState._reset_state(reset_partial_state=True)
    tokenizer, development, validation = sessions
    model = build_tiny_mt5(len(tokenizer), 32, 1, config.seed)  # type: ignore[arg-type]
    folder.mkdir(parents=True, exist_ok=True)
    train(
        Accelerator(cpu=True),
        model,
        tokenizer,
        TrainingPrompts(development),
        TrainingPrompts(validation),
        config=config,
        card=CARD,
        folder=folder,
        settings={"seed": config.seed},
    )
    return load_file(folder / "model" / "model.safetensors")


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()]


def test_whole_batches_and_accumulated_parts_learn_the_same(
    tmp_path: Path, sessions: tuple[object, Dataset, Dataset]
) -> None:
    whole = trained(tmp_path / "whole", sessions, CONFIG)
    parts = trained(tmp_path / "parts", sessions, dataclasses.replace(CONFIG, micro_batch_size=1))
    for one, other in zip(history(tmp_path / "whole"), history(tmp_path / "parts"), strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-4)
    assert all(torch.allclose(whole[name], parts[name], atol=2e-3) for name in whole)


def test_it_learns_and_keeps_the_best_state(tmp_path: Path, sessions: tuple[object, Dataset, Dataset]) -> None:
    trained(tmp_path / "run", sessions, dataclasses.replace(CONFIG, epochs=8, eval_every=8))
    losses = [entry["validation_loss"] for entry in history(tmp_path / "run")]
    assert min(losses) < 0.8 * losses[0]
    model, _ = load_model(str(tmp_path / "run" / "model"))
    validation = sessions[2]
    rows = [row for row, target in enumerate(validation["target_title"]) if target is not None]
    tokens = {name: [validation[row][name] for row in rows] for name in ("input_ids", "labels")}
    with torch.no_grad():
        loss = title_loss(model, tokens, torch.device("cpu")).item() / sum(map(len, tokens["labels"]))
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_best_by_bleu_is_recorded(tmp_path: Path, sessions: tuple[object, Dataset, Dataset]) -> None:
    trained(tmp_path / "run", sessions, dataclasses.replace(CONFIG, epochs=1, best_by="bleu"))
    assert 0 <= history(tmp_path / "run")[-1]["validation_bleu"] <= 100


def test_the_loss_is_that_of_transformers(sessions: tuple[object, Dataset, Dataset]) -> None:
    tokenizer, development, _ = sessions
    model = build_tiny_mt5(len(tokenizer), 32, 1, seed=0)  # type: ignore[arg-type]
    row = {name: [development[0][name]] for name in ("input_ids", "labels")}
    expected = model(input_ids=torch.tensor(row["input_ids"]), labels=torch.tensor(row["labels"])).loss  # mean a token
    assert title_loss(model, row, "cpu").item() / len(row["labels"][0]) == pytest.approx(expected.item(), rel=1e-5)


def test_sessions_without_a_target_title_are_left_out_of_training(sessions: tuple[object, Dataset, Dataset]) -> None:
    untitled = [row for row, title in enumerate(sessions[1]["target_title"]) if title is None]
    assert untitled
    assert all(len(sessions[1][row]["labels"]) == 0 for row in untitled)


def test_nothing_to_learn_is_one_line(tmp_path: Path, sessions: tuple[object, Dataset, Dataset]) -> None:
    untitled = [row for row, title in enumerate(sessions[1]["target_title"]) if title is None]
    columns = sessions[1][untitled]
    columns["labels"] = np.zeros((len(untitled), 0), dtype=np.int32).tolist()
    empty = Dataset.from_dict(columns, features=sessions[1].features)
    with pytest.raises(DataError, match="nothing to learn from"):
        trained(tmp_path / "run", (sessions[0], empty, sessions[2]), CONFIG)


@pytest.mark.parametrize(
    ("batch", "micro", "processes", "expected"), [(12, None, 8, 1), (12, 3, 2, 2), (12, 12, 1, 1), (12, 1, 8, 2)]
)
def test_micro_batches(batch: int, micro: int | None, processes: int, expected: int) -> None:
    assert micro_batches(batch, micro, processes) == expected
    if micro:
        assert math.ceil(batch / (processes * expected)) <= micro


def gen(store: Store, out: Path, *flags: str, launcher: tuple[str, ...] = ()) -> list[str]:
    script = str(ROOT / "scripts" / "gen.py")
    return [sys.executable, *launcher, script, "--data", str(store.path), "--output-dir", str(out), *FLAGS, *flags]


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment}, check=False)


def test_killed_again_and_again_it_ends_with_the_weights_of_an_undisturbed_run(
    tmp_path: Path, tiny_store: Store
) -> None:
    plain = run(gen(tiny_store, tmp_path / "plain"))
    assert plain.returncode == 0, plain.stderr
    out, seen = tmp_path / "killed", set()
    for _ in range(2):
        process = subprocess.Popen(
            gen(tiny_store, out, "--resume"), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None:  # kill as soon as one more checkpoint is there, in the midst of the next steps
            made = {path.name for path in (out / "checkpoints").glob("step-*")}
            if made - seen:
                seen |= made
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL
    last = run(gen(tiny_store, out, "--resume"))
    assert last.returncode == 0, last.stderr
    assert "resumed at step" in last.stderr
    weights, titles = "model/model.safetensors", "titles_validation.parquet"
    assert (tmp_path / "plain" / weights).read_bytes() == (out / weights).read_bytes()
    assert pq.read_table(tmp_path / "plain" / titles).equals(pq.read_table(out / titles))  # its record has a time
    assert [entry["validation_loss"] for entry in history(out)] == [
        entry["validation_loss"] for entry in history(tmp_path / "plain")
    ]


def test_two_processes_lose_and_double_no_session(tmp_path: Path, tiny_store: Store) -> None:
    flags = ("--generate-batch-size", "4", "--max-steps", "6", "--eval-every", "1")
    one = run(gen(tiny_store, tmp_path / "one", *flags))
    assert one.returncode == 0, one.stderr
    launcher = ("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
    launcher += ("--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0")
    two = run(
        gen(tiny_store, tmp_path / "two", *flags, launcher=launcher),
        OMP_NUM_THREADS="1",
        ACCELERATE_USE_CPU="true",
    )
    assert two.returncode == 0, two.stderr
    model, tokenizer = load_model(str(tmp_path / "two" / "model"))
    alone = build_prompt_sessions(
        tiny_store,
        "validation",
        k=2,
        prompt=load_prompt("plain_v1"),
        cache=tmp_path / "cache",
        tokenizer=tokenizer,
        max_source_tokens=64,
    )
    expected = [decode_batch(model, tokenizer, [row["input_ids"]], max_tokens=12)[0] for row in alone]
    written = read_run(tmp_path / "two" / "titles_validation.parquet")
    assert written.predictions.to_pylist() == expected
    assert written.locales.to_pylist() == list(alone["locale"])
    for here, there in zip(history(tmp_path / "one"), history(tmp_path / "two"), strict=True):
        assert here["train_loss"] == pytest.approx(there["train_loss"], rel=1e-4)
        assert here["validation_loss"] == pytest.approx(there["validation_loss"], rel=1e-4)


def test_an_unfinished_training_is_not_thrown_away_unasked(
    tmp_path: Path, sessions: tuple[object, Dataset, Dataset]
) -> None:
    from llmrec.training import checkpoint

    states = tmp_path / "checkpoints"
    AcceleratorState._reset_state(reset_partial_state=True)
    checkpoint.save_checkpoint(Accelerator(cpu=True), states, checkpoint.Progress(step=3), {"seed": 0})
    (states / "step-00000009").mkdir()  # killed while it was written: no progress.json
    assert [path.name for path in checkpoint.checkpoints(states)] == ["step-00000003"]
    assert checkpoint.load_progress(states, {"seed": 0}) == checkpoint.Progress(step=3)
    with pytest.raises(ConfigError, match="made with seed 0, now 1; --resume needs the same settings"):
        checkpoint.load_progress(states, {"seed": 1})


def test_a_trained_model_is_prompted_as_it_was_trained(tmp_path: Path, tiny_store: Store) -> None:
    flags = ("--max-steps", "2", "--k", "3", "--prompt", "instruct", "--max-source-tokens", "160")
    first = run(gen(tiny_store, tmp_path / "one", *flags))
    assert first.returncode == 0, first.stderr
    model = str(tmp_path / "one" / "model")
    command = [sys.executable, str(ROOT / "scripts" / "gen.py"), "--data", str(tiny_store.path), "--model", model]
    again = run([*command, "--output-dir", str(tmp_path / "two")])
    assert again.returncode == 0, again.stderr
    assert "K = 3" in again.stderr
    name = "titles_validation.parquet"
    assert pq.read_table(tmp_path / "one" / name).equals(pq.read_table(tmp_path / "two" / name))


def test_a_full_disk_is_one_line_and_the_data_stays(tmp_path: Path, tiny_store: Store) -> None:
    small = tmp_path / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=300k none "$1" && shift && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", str(small), *gen(tiny_store, small / "out")]
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a disk of our own needs user namespaces")
    done = run(command)
    assert done.returncode == 2, done.stderr
    assert "the disk is full; free some space and run the same command again" in done.stderr.splitlines()[-1]
    assert Store.load(tiny_store.path).test_splits == ["test_task3_phase1"]


def test_training_cannot_be_handed_test_targets(
    tmp_path: Path, tiny_store: Store, sessions: tuple[object, Dataset, Dataset]
) -> None:
    with pytest.raises(StoreError, match="'test_task3_phase1' is no training split"):
        build_training_prompts(tiny_store, "test_task3_phase1", k=1, prompt=load_prompt("plain"), cache=tmp_path)
    for smuggled in (sessions[1], tiny_store.targets("test_task3_phase1")):
        with pytest.raises(TypeError, match="training takes TrainingPrompts alone"):
            train(None, None, None, smuggled, smuggled, config=CONFIG, card=CARD, folder=tmp_path, settings={})


def test_a_model_folder_of_mt5s_own_kind_is_fine_tuned(tmp_path: Path, tiny_store: Store) -> None:
    """As from the hub: a `T5Tokenizer` read from ``spiece.model`` and an mT5 whose head is not tied."""
    folder = tmp_path / "mt5-none"
    titles = [title for locale in TITLES.values() for title in locale] * 20
    model, tokenizer = make_hub_mt5(folder, titles, 500)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    flags = ("--base-model", str(folder), "--max-steps", "3", "--k", "1", "--num-beams", "2")
    done = run(gen(tiny_store, tmp_path / "out", *flags))
    assert done.returncode == 0, done.stderr
    before, after = (load_file(path / "model.safetensors") for path in (folder, tmp_path / "out" / "model"))
    for name in ("lm_head.weight", "shared.weight"):
        assert not torch.equal(before[name], after[name]), name
    assert not torch.equal(after["shared.weight"], after["lm_head.weight"])
    assert len(read_run(tmp_path / "out" / "titles_validation.parquet")) == 35
