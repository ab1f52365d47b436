"""LoRA as a user sees it: trained, killed, resumed, merged and used through the commands."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file, save_file

from llmrec.data.store import Store
from llmrec.errors import ConfigError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.titles.generation import run_generation
from llmrec.titles.models.lora import add_adapters, merge_adapter, open_model, weight_settings
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, load_model, save_model
from llmrec.titles.settings import GenerateConfig
from tests.conftest import TITLES
from tests.titles.tiny_llm import write_tiny_llm
from tests.training.kill import KilledError, kill_at

TEXTS = [title for locale in TITLES.values() for title in locale]
RUN = "titles_validation.parquet"

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # ibis 12 on DuckDB 2.0


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_llm(tmp_path_factory.mktemp("hub") / "tiny-qwen", TEXTS)


def config(store: Store, base: Path, out: Path, **changes: Any) -> GenerateConfig:
    settings: dict[str, Any] = {
        "data": store.path,
        "base_model": str(base),
        "output_dir": out,
        "k": 2,
        "lora_rank": 4,
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 2e-2,
        "max_source_tokens": 96,
        "max_target_tokens": 16,
        "generate_batch_size": 8,
    }
    return GenerateConfig(**{**settings, **changes})


def train(settings: GenerateConfig) -> list[dict[str, float]]:
    AcceleratorState._reset_state(reset_partial_state=True)
    run_generation(settings)
    assert settings.output_dir is not None
    lines = (settings.output_dir / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_an_adapter_is_trained_saved_used_merged_and_writes_the_same_titles(
    tmp_path: Path, tiny_store: Store, base: Path
) -> None:
    before = load_file(base / "model.safetensors")
    history = train(config(tiny_store, base, tmp_path / "lora", epochs=8, chat=True, pack=True))
    assert min(entry["validation_loss"] for entry in history) < history[0]["validation_loss"] - 0.1
    adapter = tmp_path / "lora" / "model"
    assert (adapter / "adapter_model.safetensors").stat().st_size < (base / "model.safetensors").stat().st_size
    for name, weight in load_file(base / "model.safetensors").items():
        assert torch.equal(weight, before[name])
    merge_adapter(adapter, tmp_path / "merged")
    written = read_run(tmp_path / "lora" / RUN).predictions.to_pylist()
    assert len(set(written)) > 1
    for place, model in enumerate((adapter, tmp_path / "merged")):
        AcceleratorState._reset_state(reset_partial_state=True)
        out = tmp_path / f"again{place}"
        run_generation(GenerateConfig(data=tiny_store.path, model=str(model), output_dir=out, generate_batch_size=3))
        assert read_run(out / RUN).predictions.to_pylist() == written


def test_packed_whole_and_accumulated_trainings_have_the_same_losses(
    tmp_path: Path, tiny_store: Store, base: Path
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "whole": {},
        "packed": {"pack": True},
        "accumulated": {"micro_batch_size": 1},
        "checkpointed": {"gradient_checkpointing": True, "pack": True, "micro_batch_size": 3},
    }
    histories = {name: train(config(tiny_store, base, tmp_path / name, **way)) for name, way in ways.items()}
    for name, history in histories.items():
        for one, other in zip(histories["whole"], history, strict=True):
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4), name
            assert one["validation_loss"] == pytest.approx(other["validation_loss"], rel=1e-4), name


def test_a_loss_is_told_before_a_long_step_is_over(
    tmp_path: Path, tiny_store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def update(bar: Any, task: Any, **settings: Any) -> None:
        told.append(settings.get("note", ""))

    monkeypatch.setattr("llmrec.training.loop.TELL_AFTER_S", -1.0)
    monkeypatch.setattr("rich.progress.Progress.update", update)
    history = train(config(tiny_store, base, tmp_path / "run", max_steps=1, micro_batch_size=3))
    parts = [note for note in told if note.startswith("part ")]
    assert [note.partition(",")[0] for note in parts] == ["part 1 of 3 of step 1", "part 2 of 3 of step 1"]
    losses = [float(note.rpartition(" ")[2]) for note in parts]
    assert losses == pytest.approx([history[0]["train_loss"]] * 2, rel=0.3)


def test_mt5_takes_adapters_too(tmp_path: Path, tiny_store: Store) -> None:
    from llmrec.titles.models.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(TEXTS, 400)
    folder = tmp_path / "mt5"
    save_model(folder, build_tiny_mt5(len(tokenizer), 32, 1, 0), tokenizer, ModelCard("plain_v1", "", 2, 64, 16))
    (folder / "llmrec.json").unlink()
    history = train(config(tiny_store, folder, tmp_path / "lora", epochs=6, lora_targets="q,v,wi_0,wo"))
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    names = load_file(tmp_path / "lora" / "model" / "adapter_model.safetensors")
    assert {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in names} == {"q", "v", "wi_0", "wo"}
    model, _ = open_model(str(tmp_path / "lora" / "model"))
    assert model.config.is_encoder_decoder


def test_qlora_holds_the_base_in_four_bits_and_trains(tmp_path: Path, tiny_store: Store) -> None:
    pytest.importorskip("bitsandbytes")
    base = write_tiny_llm(tmp_path / "wide", TEXTS, width=64)  # bitsandbytes' blocks have 64 weights
    history = train(
        config(tiny_store, base, tmp_path / "qlora", epochs=3, quantize="4bit", gradient_checkpointing=True)
    )
    assert history[-1]["validation_loss"] < history[0]["validation_loss"]
    model, _ = load_model(str(base), four_bit=True)
    assert model.model.layers[0].mlp.up_proj.weight.dtype == torch.uint8
    assert len(read_run(tmp_path / "qlora" / RUN)) == 35


def test_stopped_and_resumed_it_ends_with_the_adapter_of_an_undisturbed_training(
    tmp_path: Path, tiny_store: Store, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ways: dict[str, Any] = {"lora_dropout": 0.1, "checkpoint_every": 3, "pack": True}
    plain, stopped = (config(tiny_store, base, tmp_path / name, **ways) for name in ("plain", "stopped"))
    train(plain)
    with monkeypatch.context() as patch:
        kill_at(5, patch)
        with pytest.raises(KilledError):
            train(stopped)
    (state,) = (tmp_path / "stopped" / "checkpoints").glob("step-*")
    assert state.name == "step-00000003"
    assert (state / "adapters.safetensors").is_file()
    assert not list(state.glob("model*.safetensors")), "the frozen base is in no checkpoint"
    train(dataclasses.replace(stopped, resume=True))
    weights = "model/adapter_model.safetensors"
    assert (tmp_path / "plain" / weights).read_bytes() == (tmp_path / "stopped" / weights).read_bytes()
    assert pq.read_table(tmp_path / "plain" / RUN).equals(pq.read_table(tmp_path / "stopped" / RUN))


def test_a_target_that_does_not_exist_names_those_that_do(base: Path) -> None:
    model, _ = load_model(str(base))
    settings = GenerateConfig(base_model=str(base), lora_rank=4, lora_targets="q_proj,query")
    message = "Qwen3ForCausalLM has no linear layer 'query'; it has down_proj, gate_proj, k_proj, o_proj, q_proj, "
    with pytest.raises(ConfigError, match=message):
        add_adapters(model, settings)


def test_an_adapter_for_another_base_is_refused(tmp_path: Path, tiny_store: Store, base: Path) -> None:
    moved = tmp_path / "base"
    shutil.copytree(base, moved)
    train(config(tiny_store, moved, tmp_path / "lora", max_steps=1))
    adapter = str(tmp_path / "lora" / "model")
    other = write_tiny_llm(tmp_path / "other", TEXTS, seed=1)
    with pytest.raises(ModelError, match=r"an adapter for another base model than .*other; name its own"):
        open_model(adapter, base=str(other))
    moved.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="or name where it is now with --base-model") as caught:
        open_model(adapter)
    assert "\n" not in str(caught.value)
    open_model(adapter, base=str(tmp_path / "elsewhere"))
    weights = tmp_path / "lora" / "model" / "adapter_model.safetensors"
    save_file({name: one * float("nan") for name, one in load_file(weights).items()}, weights)
    with pytest.raises(ModelError, match="holds numbers that are not finite"):
        open_model(adapter, base=str(tmp_path / "elsewhere"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"base_model": "tiny"}, "--lora-rank: adapters need a base that can be loaded again"),
        ({"base_model": "tiny", "lora_rank": None, "pack": True}, "--pack is for causal models"),
        ({"base_model": "tiny", "lora_rank": None, "chat": True}, "--chat is for causal models"),
        ({"lora_rank": None, "quantize": "4bit"}, "weights of 4 bits cannot be trained; add adapters"),
        ({"max_source_tokens": 500}, "needs 516 positions, and Qwen3ForCausalLM has 512; give less"),
    ],
)
def test_wrong_settings_are_one_line(
    tmp_path: Path, tiny_store: Store, base: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train(config(tiny_store, base, tmp_path / "out", **changes))


def test_there_is_nothing_to_merge_in_a_plain_model(base: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no adapter_config\.json here, so nothing to merge"):
        merge_adapter(base, tmp_path / "out")


def test_a_frozen_base_is_held_in_bf16_where_training_computes_in_it(base: Path) -> None:
    class Bf16:
        mixed_precision = "bf16"

    assert weight_settings(Bf16(), GenerateConfig(lora_rank=4))["dtype"] == torch.bfloat16
    assert weight_settings(Bf16(), GenerateConfig())["dtype"] == torch.float32
