from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from llmrec.errors import ConfigError, ModelError
from llmrec.memory import Free
from llmrec.titles.models import model as model_module
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, load_model, read_model_card, save_model
from llmrec.titles.models.tokenizer import build_tokenizer

CARD = ModelCard("plain_v1", "0" * 64, 3, 64, 32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = build_tokenizer([f"Title number {n} of a small shop" for n in range(50)], 400)
    target = tmp_path_factory.mktemp("models") / "tiny"
    save_model(target, build_tiny_mt5(len(tokenizer), 32, 1, seed=0), tokenizer, CARD)
    return target


def test_a_saved_model_loads_with_the_same_weights_tokens_and_card(folder: Path) -> None:
    model, tokenizer = load_model(str(folder))
    fresh = build_tiny_mt5(len(tokenizer), 32, 1, seed=0)
    for name, weight in fresh.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], weight, rtol=0, atol=0)
    assert read_model_card(str(folder)) == CARD
    assert not list(folder.glob("*.bin")), "weights are safetensors"


def test_another_seed_gives_other_weights() -> None:
    a, b = (build_tiny_mt5(400, 32, 1, seed).shared.weight for seed in (0, 1))
    assert not torch.equal(a, b)


def test_a_model_from_elsewhere_has_no_card(tmp_path: Path) -> None:
    assert read_model_card(str(tmp_path)) is None


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no config\.json in this folder"):
        load_model(str(tmp_path))


def test_deepspeed_has_nothing_to_warn_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
    load_model(str(folder))
    assert os.environ["DS_ACCELERATOR"] == "cpu"


def test_weights_that_are_no_numbers_are_one_line(folder: Path, tmp_path: Path) -> None:
    model, tokenizer = load_model(str(folder))
    model.encoder.final_layer_norm.weight.data[3] = float("nan")
    save_model(tmp_path / "broken", model, tokenizer, CARD)
    with pytest.raises(ModelError, match=r"encoder\.final_layer_norm\.weight holds numbers that are not finite"):
        load_model(str(tmp_path / "broken"))


def test_cut_weights_are_one_line(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="cannot be loaded as a sequence-to-sequence model") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_tokenizer_on_which_its_library_panics_is_one_line(folder: Path, tmp_path: Path) -> None:
    """A panic of Rust code is no `Exception`."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    text = (tmp_path / "tokenizer.json").read_text(encoding="utf-8")
    content = json.loads(text)
    content["normalizer"] = {"type": "Precompiled", "precompiled_charsmap": "abc=d"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match="cannot be loaded as a sequence-to-sequence model") as caught:
        load_model(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_pickled_weights_in_a_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    torch.save({}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError):
        load_model(str(tmp_path))


def test_a_foreign_card_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "llmrec.json").write_text(json.dumps({"prompt": "plain_v1", "k": 1.0}), encoding="utf-8")
    with pytest.raises(ModelError, match=r"llmrec\.json: damaged .*train the model again"):
        read_model_card(str(tmp_path))


def test_weights_that_memory_cannot_hold_are_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "free_memory", lambda: Free(1000, "a test"))
    with pytest.raises(ConfigError, match=r": holding its weights needs about 1 MiB .*; take a smaller model"):
        load_model(str(folder))
    with pytest.raises(ConfigError, match=r"^the tiny model: holding its weights needs"):
        build_tiny_mt5(400, 32, 1, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"decoder_start_token_id": "0"}, "Expected `int | null`, got `str`"),
        ({"decoder_start_token_id": 1 << 70}, "names token"),
        ({"decoder_start_token_id": [0, 0, 0]}, "array"),
        ({"decoder_start_token_id": 0, "eos_token_id": 100_000}, "names token 100000"),
        ({"decoder_start_token_id": 0, "no_repeat_ngram_size": {}}, "no_repeat_ngram_size"),
    ],
)
def test_how_a_model_writes_is_read_as_data(folder: Path, tmp_path: Path, content: Any, words: str) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "generation_config.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=re.escape(words)):
        load_model(str(copy))


@pytest.mark.parametrize("content", [None, "", "{}", '{"do_sample": true, "max_length": 3, "top_k": "x"}'])
def test_what_says_nothing_of_the_start_leaves_it_to_the_config(
    folder: Path, tmp_path: Path, content: str | None
) -> None:
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / "generation_config.json").unlink()
    if content is not None:
        (copy / "generation_config.json").write_text(content, encoding="utf-8")
    model, _ = load_model(str(copy))
    assert model.generation_config.decoder_start_token_id == model.config.decoder_start_token_id == 0
    assert not model.generation_config.do_sample
