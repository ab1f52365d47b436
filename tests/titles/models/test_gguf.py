"""GGUF files: the model that was written comes back, once unpacked, and what is no such file ends in one line."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, AutoTokenizer

from llmrec import TitleWriter
from llmrec.data.store import Store
from llmrec.errors import ConfigError, LlmrecError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.titles.generation import run_generation
from llmrec.titles.models import gguf
from llmrec.titles.models.architectures import read_architecture
from llmrec.titles.models.gguf import unpacked
from llmrec.titles.models.lora import open_model
from llmrec.titles.models.model import load_model
from llmrec.titles.settings import GenerateConfig
from tests.conftest import TITLES
from tests.titles.tiny_gguf import write_gguf
from tests.titles.tiny_llm import SIZE, bpe_tokenizer

TEXTS = [title for locale in TITLES.values() for title in locale]
KINDS = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")
SIZES = {**SIZE, "hidden_size": 32, "intermediate_size": 64, "head_dim": 16}

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")  # ibis 12 on DuckDB 2.0


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return bpe_tokenizer(TEXTS)


def model_of(kind: str, tokenizer: Any, **changes: Any) -> Any:
    from transformers import AutoConfig

    torch.manual_seed(0)
    settings = {**SIZES, "vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings)).eval()


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", model_of("llama", tokenizer), tokenizer)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "llmrec" / "gguf"


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.arange(3, 23).reshape(2, 10)).logits


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_with_its_weights_and_its_tokenizer(kind: str, tokenizer: Any, tmp_path: Path) -> None:
    wanted = model_of(kind, tokenizer)
    with torch.no_grad():
        for weight in wanted.parameters():  # norms and biases start as ones and zeros, which any mistake would keep
            weight.add_(torch.randn_like(weight), alpha=0.1)
    found, theirs = load_model(str(write_gguf(tmp_path / "m.gguf", wanted, tokenizer)))
    assert torch.allclose(logits(found), logits(wanted), atol=1e-5)
    assert [theirs(text).input_ids for text in TEXTS] == [tokenizer(text).input_ids for text in TEXTS]
    assert theirs.chat_template == tokenizer.chat_template
    assert found.generation_config.eos_token_id == [tokenizer.eos_token_id]


@pytest.mark.parametrize(("stored", "near"), [("BF16", 0.02), ("Q8_0", 0.02), ("Q4_1", 0.3)])
def test_packed_weights_are_unpacked(stored: str, near: float, tokenizer: Any, tmp_path: Path) -> None:
    wanted = model_of("llama", tokenizer)
    found, _ = load_model(str(write_gguf(tmp_path / "m.gguf", wanted, tokenizer, stored=stored)))
    apart = (logits(found) - logits(wanted)).norm() / logits(wanted).norm()
    assert 0 < apart < near


def test_the_positions_of_llama_3_come_back(tokenizer: Any, tmp_path: Path) -> None:
    scaled = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
    wanted = model_of("llama", tokenizer, rope_parameters={"rope_type": "llama3", "rope_theta": 500_000.0, **scaled})
    plain = 1 / 500_000.0 ** (torch.arange(0, 16, 2) / 16)
    factors = plain / wanted.model.rotary_emb.inv_freq
    assert factors.max() == pytest.approx(8)  # or the test shows nothing
    wanted.rope_freqs = torch.nn.Module()  # llama.cpp stores what the plain frequencies are divided by
    wanted.rope_freqs.weight = torch.nn.Parameter(factors)
    found, _ = load_model(str(write_gguf(tmp_path / "m.gguf", wanted, tokenizer, llama__rope__freq_base=500_000.0)))
    assert torch.allclose(found.model.rotary_emb.inv_freq, wanted.model.rotary_emb.inv_freq)
    with torch.no_grad():
        wanted.rope_freqs.weight.mul_(torch.linspace(1, 2, 8))
    with pytest.raises(ModelError, match="not those of Llama 3"):
        load_model(str(write_gguf(tmp_path / "n.gguf", wanted, tokenizer, llama__rope__freq_base=500_000.0)))


def test_digits_are_split_where_the_file_says_so(tokenizer: Any, tmp_path: Path) -> None:
    twice = bpe_tokenizer(["2024 2024 2024", *TEXTS])
    (whole,) = twice(" 2024").input_ids
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", twice), twice, tokenizer__ggml__pre="smollm")
    _, found = load_model(str(file))
    assert whole not in found(" 2024").input_ids
    assert found.decode(found(" 2024").input_ids) == " 2024"


def test_it_is_unpacked_once_and_for_its_owner_alone(llama: Path, cache: Path) -> None:
    first = unpacked(llama, torch.float32)
    assert {file.stat().st_mode & 0o777 for file in first.iterdir()} == {0o600}
    assert (first.stat().st_mode | cache.stat().st_mode) & 0o777 == 0o700
    before = (first / "model.safetensors").stat()
    assert unpacked(llama, torch.float32) == first
    assert (first / "model.safetensors").stat().st_ino == before.st_ino
    half, _ = load_model(str(llama), dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert len([one for one in cache.iterdir() if one.is_dir()]) == 2
    other = llama.with_name("other.gguf")
    other.write_bytes(llama.read_bytes() + b"\0")
    assert unpacked(other, torch.float32) != first  # named by what it holds, not by its name


def test_a_writer_reads_the_file_as_it_reads_a_folder(llama: Path, tokenizer: Any, tmp_path: Path) -> None:
    model_of("llama", tokenizer).save_pretrained(tmp_path / "folder")
    tokenizer.save_pretrained(tmp_path / "folder")
    asked, settings = ([["USB-C cable"], ["Kettle", "Tea"]], {"chat": True, "max_target_tokens": 8})
    found = TitleWriter.load(llama, **settings).write(asked, "UK")
    assert list(found) == list(TitleWriter.load(tmp_path / "folder", **settings).write(asked, "UK"))
    assert found.provenance["gguf"] == {"file": "tiny.gguf", "sha256": hashlib.sha256(llama.read_bytes()).hexdigest()}


def generate(store: Store, out: Path, **settings: Any) -> dict[str, Any]:
    AcceleratorState._reset_state(reset_partial_state=True)
    lengths = {"max_source_tokens": 96, "max_target_tokens": 8, "log_to": "none"}
    run_generation(GenerateConfig(data=store.path, output_dir=out, **lengths, **settings))
    return dict(read_run(out / "titles_validation.parquet").provenance)


def test_titles_and_adapters_are_made_with_the_file_and_say_so(llama: Path, tiny_store: Store, tmp_path: Path) -> None:
    digest = hashlib.sha256(llama.read_bytes()).hexdigest()
    assert generate(tiny_store, tmp_path / "a", model=str(llama))["gguf"]["sha256"] == digest
    training = {"base_model": str(llama), "lora_rank": 2, "max_steps": 1, "batch_size": 4}
    assert generate(tiny_store, tmp_path / "b", **training)["gguf"]["sha256"] == digest
    adapter = tmp_path / "b" / "model"
    assert json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"] == str(llama)
    open_model(str(adapter))


def test_a_plan_reads_the_header_alone(llama: Path, cache: Path) -> None:
    found = read_architecture(GenerateConfig(base_model=str(llama)))
    assert (found.config.hidden_size, found.config.num_hidden_layers) == (32, 2)
    assert not cache.exists()


def test_terms_of_its_own_are_told_once(tokenizer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", tokenizer), tokenizer, general__license="gemma")
    for told in (1, 0):
        load_model(str(file))
        assert capsys.readouterr().err.count("terms of its own (gemma)") == told


def refused(file: Path) -> str:
    with pytest.raises(LlmrecError) as caught:
        load_model(str(file))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"general__architecture": "rwkv7"}, "a model of the kind 'rwkv7'"),
        ({"llama__block_count": 4_000_000_000}, "layers or its embeddings are not all there"),
        ({"llama__block_count": 1}, "layers or its embeddings are not all there"),
        ({"llama__embedding_length": 1 << 30}, "hidden_size is 1073741824, which no model has"),
        ({"llama__feed_forward_length": 96}, "mlp.gate_proj.weight of shape (96, 32), and it has (64, 32)"),
        ({"llama__attention__head_count": 0}, "num_attention_heads is 0"),
        ({"llama__attention__head_count": "4"}, "num_attention_heads is '4'"),
        ({"llama__rope__scaling__type": "yarn"}, "scales positions by 'yarn'"),
        ({"leave_out": ("blk.1.ffn_up.weight",)}, "mlp.up_proj.weight of shape (64, 32), and it has none"),
        ({"leave_out": ("llama.feed_forward_length",)}, "does not say its intermediate_size"),
        ({"tokenizer__ggml__eos_token_id": 400_000}, "eos_token_id is 400000, and no such token is there"),
        ({"tokenizer__ggml__model": "unheard"}, "cannot be read"),
        ({"tokenizer__chat_template": "x" * (1 << 21)}, "a text of 2,097,152 bytes"),
    ],
)
def test_what_a_file_says_must_be_possible(changes: Any, told: str, tokenizer: Any, tmp_path: Path) -> None:
    assert told in refused(write_gguf(tmp_path / "m.gguf", model_of("llama", tokenizer), tokenizer, **changes))
    assert not list(tmp_path.glob("cache/llmrec/gguf/*/"))


def header(*parts: tuple[str, int] | bytes, version: int = 3, tensors: int = 0, keys: int = 1) -> bytes:
    told = [part if isinstance(part, bytes) else struct.pack(f"<{part[0]}", part[1]) for part in parts]
    return b"".join([b"GGUF", struct.pack("<IQQ", version, tensors, keys), *told])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "cannot be read as GGUF"),
        (b"GGU", "cut short"),
        (b"PK\3\4" * 9, "no GGUF file: it begins with b'PK"),
        (header(version=1), "GGUF of version 1"),
        (header(version=50331648), "GGUF of version 50331648"),  # 3 in the other order of bytes
        (header(tensors=1 << 60), "more than any model has"),
        (header(keys=1 << 60), "more than any model has"),
        (header(("Q", 1 << 62)), "a text of 4,611,686,018,427,387,904 bytes"),
        (header(("Q", 200), b"abc"), "cut short"),
        (header(("Q", 1), b"\xff"), "not UTF-8"),
        (header(("Q", 1), b"a", ("I", 77)), "a value of type 77"),
        (header(("Q", 1), b"a", ("I", 9), ("I", 8), ("Q", 1 << 50)), "more than the file can hold"),
        (header(("Q", 1), b"a", ("I", 9), ("I", 9), ("Q", 1)), "a value of type 9"),
        (header(*[(("Q", 1)), b"a", ("I", 7), b"\1"] * 2, keys=2), "'a' is given twice"),
        (header(("Q", 1), b"a", ("I", 7), b"\1"), "does not say its general.architecture"),
    ],
)
def test_lengths_that_lie_are_found(content: bytes, told: str, tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    assert told in refused(tmp_path / "m.gguf")


def test_a_file_cut_anywhere_or_with_any_byte_changed_is_refused_or_read(llama: Path, tmp_path: Path) -> None:
    """What is changed may be a weight: then it is read. Nothing else is raised, and nothing takes long."""
    draw, whole, file = random.Random(0), llama.read_bytes(), tmp_path / "m.gguf"
    start = time.process_time()
    for _ in range(30):
        file.write_bytes(whole[: draw.randrange(len(whole))])
        assert refused(file).endswith("; download it again")
    ends = whole.index(b"token_embd.weight")
    for _ in range(20):
        content = bytearray(whole)
        for place in draw.sample(range(4, ends + 2000), 3):
            content[place] = draw.randrange(256)
        file.write_bytes(content)
        try:
            load_model(str(file))
        except LlmrecError as error:
            assert "\n" not in str(error)  # noqa: PT017 - it may also load
    assert time.process_time() - start < 30


def test_tensors_cannot_lie_on_each_other(llama: Path, tmp_path: Path) -> None:
    content = bytearray(llama.read_bytes())
    name = b"blk.1.ffn_down.weight"  # its place is behind its name, the number of its dimensions, these, and its type
    at = content.index(name) + len(name) + 4 + 16 + 4
    content[at : at + 8] = bytes(8)
    (tmp_path / "m.gguf").write_bytes(content[: len(content) - 4096])
    assert "cut short" in refused(tmp_path / "m.gguf") or "lie on each other" in refused(tmp_path / "m.gguf")


def test_a_template_that_loops_for_ever_ends_in_a_line(tokenizer: Any, tmp_path: Path) -> None:
    loop = "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}"
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", tokenizer), tokenizer, tokenizer__chat_template=loop)
    with pytest.raises(ConfigError, match="chat template fails"):
        TitleWriter.load(file, chat=True)


def test_a_model_larger_than_memory_is_refused(llama: Path, monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    from llmrec.memory import Free

    monkeypatch.setattr(gguf, "free_memory", lambda: Free(1000, "a test"))
    assert "unpacking tiny.gguf needs about" in refused(llama)


def test_no_file_and_no_end_token(tokenizer: Any, tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "absent.gguf")
    endless = ("tokenizer.ggml.eos_token_id",)
    file = write_gguf(tmp_path / "m.gguf", model_of("llama", tokenizer), tokenizer, leave_out=endless)
    with pytest.raises(ConfigError, match=f"{file}: no fast tokenizer with an end token"):
        TitleWriter.load(file)


@pytest.mark.parametrize(
    ("number", "told"), [(0.0, "holds nothing but zeros"), (float("nan"), "not finite"), (float("inf"), "not finite")]
)
def test_holes_of_a_stopped_download_are_found(number: float, told: str, tokenizer: Any, tmp_path: Path) -> None:
    model = model_of("llama", tokenizer)
    model.model.layers[1].mlp.up_proj.weight.data.fill_(number)
    file = write_gguf(tmp_path / "m.gguf", model, tokenizer)
    line = refused(file)
    assert line.startswith(f"{file}: blk.1.ffn_up.weight holds ")
    assert told in line
    assert line.endswith("; download it again")


def test_a_damaged_copy_says_which_folder_to_delete(llama: Path) -> None:
    folder = unpacked(llama, torch.float32)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    assert refused(llama) == f"{llama}: what was unpacked of it is damaged; delete {folder}, and try again"


def test_a_file_of_ollama_has_no_ending(llama: Path, tmp_path: Path) -> None:
    blob = tmp_path / "sha256-abc"
    blob.write_bytes(llama.read_bytes())
    assert load_model(str(blob))[0].config.hidden_size == 32


def test_the_folder_is_one_that_transformers_reads(llama: Path) -> None:
    folder = unpacked(llama, torch.float32)
    assert AutoTokenizer.from_pretrained(folder).is_fast
    assert np.isfinite(logits(AutoModelForCausalLM.from_pretrained(folder)).numpy()).all()
