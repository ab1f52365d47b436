"""A causal model cut to its shop's tokens: byte-level BPE as Llama's, BPE with bytes to fall back on as Gemma's."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig

from llmrec.cli import status_of
from llmrec.data.store import Store
from llmrec.evaluation.runs import read_run
from llmrec.text.prompts import load_prompt
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.models.lora import open_model
from llmrec.titles.models.model import load_model, save_model
from llmrec.titles.models.trim import restore, trim
from llmrec.titles.prompting.affixes import build_affixes
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.titles.training.losses import causal_title_loss
from tests.conftest import TITLES
from tests.titles.tiny_llm import SIZE, bpe_tokenizer, sentencepiece_bpe

pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
SHOP = [title for titles in TITLES.values() for title in titles]
SYLLABLES = ("qua", "lor", "zim", "wex", "juv", "bor")
ELSEWHERE = [" ".join("".join(one) for one in itertools.permutations(SYLLABLES, 3))] * 9
PROMPT = load_prompt("plain")


def build(kind: str, folder: Path) -> Path:
    """A model that has learnt to write the shop's titles."""
    tokenizer = (bpe_tokenizer if kind == "llama" else sentencepiece_bpe)(ELSEWHERE + SHOP * 2, pieces=800)
    sizes: dict[str, Any] = {
        **SIZE,
        "vocab_size": len(tokenizer) + 5,  # rows that no token has
        "hidden_size": 32,
        "intermediate_size": 64,
        "head_dim": 8,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": kind == "gemma",
    }
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config({"llama": LlamaConfig, "gemma": Gemma3TextConfig}[kind](**sizes))
    prompts, titles = encoded(tokenizer, SHOP), TitleTokenizer(tokenizer).encode(SHOP)
    titles = [[one for one in title if one != tokenizer.bos_token_id] for title in titles]
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = causal_title_loss(model, {"input_ids": prompts, "labels": titles}, "cpu") / sum(map(len, titles))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    save_model(folder, model, tokenizer, None)
    return folder


def encoded(tokenizer: Any, titles: list[str]) -> list[list[int]]:
    affixes = build_affixes(tokenizer, chat=bool(tokenizer.chat_template))
    texts = [PROMPT.render([{"title": title}], "UK") for title in titles]
    return TitleTokenizer(tokenizer, affixes).encode_prompts(texts)


@pytest.fixture(scope="module", params=["llama", "gemma"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(request.param, tmp_path_factory.mktemp("models") / request.param)


def logits(model: Any, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return torch.Tensor(model(input_ids=torch.tensor([ids])).logits[0])


def test_what_is_kept_has_its_scores_and_the_greedy_titles_are_equal_after_writing_and_reading(
    folder: Path, tiny_store: Store, tmp_path: Path
) -> None:
    full, pieces = load_model(str(folder))
    cut = trim(*load_model(str(folder)), tiny_store, [PROMPT], frequent=0)
    tied = full.get_output_embeddings().weight is full.get_input_embeddings().weight
    save_model(tmp_path / "small", *cut, None)
    model, tokenizer = load_model(str(tmp_path / "small"))
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    assert model.config.vocab_size == len(tokenizer) < 0.9 * len(pieces)
    assert len(tokenizer) % 64 == 0
    own, place = tokenizer.get_vocab(), pieces.get_vocab()
    rows = [place[piece] for piece in sorted(own, key=own.__getitem__)]
    assert tokenizer.chat_template == pieces.chat_template
    assert tokenizer.eos_token == pieces.eos_token
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == model.config.eos_token_id
    before, after = encoded(pieces, SHOP), encoded(tokenizer, SHOP)
    for old, new in zip(before, after, strict=True):
        assert [rows[token] for token in new] == old
        torch.testing.assert_close(logits(model, new), logits(full, old)[:, rows], atol=1e-5, rtol=0)
    written = [
        decode_batch(one, spelling, prompts, max_tokens=24)
        for one, spelling, prompts in ((full, pieces, before), (model, tokenizer, after))
    ]
    assert written[0] == written[1]
    assert len(set(written[0])) > 5, "a model that learnt nothing proves nothing"
    back = restore(model, tokenizer, *load_model(str(folder)))
    for name, weight in full.state_dict().items():
        torch.testing.assert_close(back.state_dict()[name], weight, atol=0, rtol=0)


def test_titles_in_a_row_and_words_of_elsewhere_are_spelled_and_read_back(folder: Path, tiny_store: Store) -> None:
    _, pieces = load_model(str(folder))
    _, tokenizer = trim(*load_model(str(folder)), tiny_store, [PROMPT], frequent=0)
    for one, other in itertools.pairwise(SHOP):
        text = PROMPT.render([{"title": one}, {"title": other}], "UK")
        assert tokenizer.tokenize(text) == pieces.tokenize(text)
    for text in ("borqua xillor", "Ünïcode Ω 漢字 🙂", "zebra qwx"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert tokenizer.convert_tokens_to_ids("<unused1>") in (None, tokenizer.unk_token_id)


@pytest.mark.parametrize("folder", ["llama"], indirect=True)
def test_adapters_on_a_trimmed_base_find_it_again(folder: Path, tiny_store: Store, tmp_path: Path) -> None:
    data = ["generate", "--data", str(tiny_store.path), "--k", "1", "--max-target-tokens", "12", "--limit", "6"]
    train = ["--base-model", str(folder), "--trim-vocabulary", "--lora-rank", "2", "--max-steps", "2"]
    assert status_of([*data, *train, "--output-dir", str(tmp_path / "run"), "--learning-rate", "1e-2"]) == 0
    adapter = tmp_path / "run" / "model"
    assert status_of([*data, "--model", str(adapter), "--output-dir", str(tmp_path / "again")]) == 0
    first, second = (read_run(tmp_path / name / "titles_validation.parquet").predictions for name in ("run", "again"))
    assert first.to_pylist() == second.to_pylist()
    assert open_model(str(adapter))[0].config.vocab_size < load_model(str(folder))[0].config.vocab_size
