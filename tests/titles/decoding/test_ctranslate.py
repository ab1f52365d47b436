"""CTranslate2 writes the titles that transformers writes, but for rounding."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from llmrec.cli import status_of
from llmrec.data.store import Store
from llmrec.errors import ConfigError, MissingExtraError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.titles import generate_titles
from llmrec.titles.decoding import ctranslate
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.models.model import build_tiny_mt5, load_model, save_model
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.title_writer import TitleWriter
from llmrec.titles.training.losses import title_loss
from tests.conftest import TITLES
from tests.places import ROOT

pytest.importorskip("ctranslate2")
# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
SHOP = [title for titles in TITLES.values() for title in titles]
EQUAL = {"fp32": 1.0, "int8": 0.9}  # share of greedy titles that are the same; int8 rounds each weight by up to .4 %


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that has learnt to write the title after the one it reads."""
    tokenizer = build_tokenizer(SHOP * 3, 400)
    model = build_tiny_mt5(len(tokenizer), 64, 2, seed=0)
    ids = TitleTokenizer(tokenizer).encode(SHOP)
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(80):
        (title_loss(model, {"input_ids": ids, "labels": ids[1:] + ids[:1]}, "cpu") / sum(map(len, ids))).backward()
        optimizer.step()
        optimizer.zero_grad()
    target = tmp_path_factory.mktemp("models") / "model"
    save_model(target, model, tokenizer, None)
    return target


@pytest.fixture(scope="module")
def converted(folder: Path) -> Path:
    ctranslate.convert_model(str(folder), *load_model(str(folder)), folder.parent / "converted")
    return folder.parent / "converted"


@pytest.mark.parametrize("precision", ["fp32", "int8", "auto"])
@pytest.mark.parametrize("max_tokens", [6, 32])
def test_greedy_titles_are_those_of_transformers(
    folder: Path, converted: Path, precision: str, max_tokens: int
) -> None:
    model, tokenizer = load_model(str(folder))
    prompts = TitleTokenizer(tokenizer).encode(SHOP)
    expected = decode_batch(model.eval(), tokenizer, prompts, max_tokens=max_tokens)
    assert len(set(expected)) > 20, "a model that learnt nothing proves nothing"
    translator = ctranslate.load_translator(converted, "cpu", 0, precision, threads=1)
    written = ctranslate.decode_batch(translator, tokenizer, prompts, max_tokens=max_tokens)
    equal = sum(one == other for one, other in zip(written, expected, strict=True))
    assert equal >= EQUAL.get(precision, EQUAL["int8"]) * len(SHOP)


def test_a_batch_equals_one_by_one(folder: Path, converted: Path) -> None:
    _, tokenizer = load_model(str(folder))
    prompts = TitleTokenizer(tokenizer).encode(SHOP)
    translator = ctranslate.load_translator(converted, "cpu", 0, "fp32", threads=1)
    alone = [ctranslate.decode_batch(translator, tokenizer, [row], max_tokens=32, num_beams=2)[0] for row in prompts]
    assert ctranslate.decode_batch(translator, tokenizer, prompts, max_tokens=32, num_beams=2) == alone


def test_a_precision_that_the_device_lacks_is_one_line(converted: Path) -> None:
    with pytest.raises(
        ConfigError, match="--decode-precision fp16: this cpu cannot do it in CTranslate2; it can: fp32"
    ):
        ctranslate.load_translator(converted, "cpu", 0, "fp16", threads=1)


def test_a_model_that_it_does_not_know_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "prophetnet"}', encoding="utf-8")
    with pytest.raises(ModelError, match="CTranslate2 cannot convert it"):
        ctranslate.convert_model(str(tmp_path), *load_model(str(folder)), tmp_path / "converted")
    assert not (tmp_path / "converted").exists()


def test_without_it_the_way_out_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(MissingExtraError, match=r"ctranslate2 is not installed; pip install 'llmrec\[fast\]'"):
        generate_titles(GenerateConfig(backend="ctranslate2"))


def test_a_writer_in_memory_decodes_with_it(folder: Path) -> None:
    histories = [[title] for title in SHOP] + [[]]
    plain = TitleWriter.load(folder, max_target_tokens=32).write(histories, "UK")
    quick = TitleWriter.load(folder, max_target_tokens=32, backend="ctranslate2").write(histories, "UK")
    same = [one == other for one, other in zip(plain, quick, strict=True)]
    assert sum(same) >= EQUAL["int8"] * len(SHOP)
    assert same[-1]


def test_gen_writes_the_same_run_and_converts_once(folder: Path, tiny_store: Store, tmp_path: Path) -> None:
    flags = ["--data", str(tiny_store.path), "--model", str(folder), "--max-target-tokens", "24", "--k", "1"]
    written = []
    for backend, precision in (("transformers", "fp32"), ("ctranslate2", "fp32"), ("ctranslate2", "int8")):
        out = tmp_path / backend
        chosen = ["--backend", backend, "--decode-precision", precision, "--output-dir", str(out)]
        assert status_of(["generate", *flags, *chosen]) == 0
        written.append(read_run(out / "titles_validation.parquet").predictions.to_pylist())
    (made,) = (tmp_path / "ctranslate2").glob("ctranslate2-*")
    assert (made / "model.bin").is_file()
    assert written[0] == written[1]
    assert sum(map(str.__eq__, written[1], written[2])) >= EQUAL["int8"] * len(written[0])


def test_transformers_in_bf16_writes_nearly_the_same(folder: Path, tiny_store: Store, tmp_path: Path) -> None:
    flags = ["--data", str(tiny_store.path), "--model", str(folder), "--max-target-tokens", "24", "--k", "1"]
    written = []
    for precision in ("fp32", "bf16"):
        chosen = ["--decode-precision", precision, "--output-dir", str(tmp_path / precision)]
        assert status_of(["generate", *flags, *chosen]) == 0
        written.append(read_run(tmp_path / precision / "titles_validation.parquet").predictions.to_pylist())
    assert sum(map(str.__eq__, *written)) >= 0.8 * len(written[0])  # eight bits of a number's digits are kept


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ctranslate2", "transformers"])
def test_two_processes_killed_and_resumed_lose_and_double_no_session(
    folder: Path, tiny_store: Store, tmp_path: Path, backend: str
) -> None:
    flags = ["--data", str(tiny_store.path), "--model", str(folder), "--backend", backend, "--k", "1"]
    flags += ["--max-target-tokens", "24", "--decode-precision", "fp32", "--generate-batch-size", "1"]
    script, out = str(ROOT / "scripts" / "gen.py"), tmp_path / "two"
    subprocess.run([sys.executable, script, *flags, "--output-dir", str(tmp_path / "one")], check=True)
    launcher = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
    launcher += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    command = [sys.executable, *launcher, script, *flags, "--output-dir", str(out), "--resume"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    while process.poll() is None:  # kill both as soon as a title is on the disk
        if any(file.stat().st_size for file in (out / "parts_validation").glob("*.jsonl")):
            os.killpg(process.pid, signal.SIGKILL)
            break
        time.sleep(0.001)
    assert process.wait() == -signal.SIGKILL
    assert not (out / "titles_validation.parquet").exists()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    runs = [read_run(path / "titles_validation.parquet") for path in (tmp_path / "one", out)]
    assert runs[0].predictions.to_pylist() == runs[1].predictions.to_pylist()
    assert runs[0].locales.to_pylist() == runs[1].locales.to_pylist()
