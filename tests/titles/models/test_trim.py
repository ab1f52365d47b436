"""A trimmed model is the full one on its shop's text, spells whatever else comes, and can be put back."""

from __future__ import annotations

import itertools
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, MT5Config, MT5ForConditionalGeneration

from llmrec.cli import status_of
from llmrec.cli.titles import TrimJob
from llmrec.cli.titles import trim as trim_verb
from llmrec.data.store import Store
from llmrec.errors import ConfigError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.text.prompts import load_prompt
from llmrec.titles import generate_titles
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.models.model import load_model
from llmrec.titles.models.trim import catalogue_texts, restore, trim
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.losses import title_loss
from tests.conftest import TITLES
from tests.titles.hub_mt5 import make_hub_mt5

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
SHOP = [title for titles in TITLES.values() for title in titles]


def other_text() -> list[str]:
    """Made-up words that no title of the shop has."""
    syllables = ["ba", "ro", "mi", "ket", "lun", "sor", "wex", "qui", "dha", "pyo"]
    words = ["".join(parts) for parts in itertools.product(syllables, repeat=3)]
    draw = random.Random(0)
    return [" ".join(draw.choices(words[:200], k=8)) for _ in range(400)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As from the hub: ``spiece.model`` with bytes, a head that is not tied, more rows than tokens; it knows titles."""
    target = tmp_path_factory.mktemp("models") / "full"
    texts = other_text() + SHOP * 10
    model, tokenizer = make_hub_mt5(target, texts, 1000, spare_rows=12, character_coverage=1.0, byte_fallback=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = TitleTokenizer(tokenizer).encode(SHOP)
    for _ in range(60):
        loss = title_loss(model, {"input_ids": ids, "labels": ids}, "cpu") / sum(map(len, ids))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    return target


def trimmed_from(folder: Path, store: Store) -> tuple[object, object]:
    return trim(*load_model(str(folder)), store, [load_prompt("plain")], frequent=0)


def logits(model: object, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), decoder_input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0]  # type: ignore[operator]


def rows_of(trimmed: object, full: object) -> list[int]:
    place, own = full.get_vocab(), trimmed.get_vocab()  # type: ignore[attr-defined]
    return [place[piece] for piece in sorted(own, key=own.__getitem__)]


def test_scores_of_kept_tokens_and_greedy_titles_are_those_of_the_full_model(folder: Path, tiny_store: Store) -> None:
    full, pieces = load_model(str(folder))
    model, tokenizer = trimmed_from(folder, tiny_store)
    assert len(tokenizer) < 0.8 * len(pieces)  # type: ignore[arg-type]
    assert len(tokenizer) % 64 == 0  # type: ignore[arg-type]
    rows = rows_of(tokenizer, pieces)
    prompts = [f"{one} || {other}" for one, other in itertools.pairwise(SHOP)]
    for before, after in zip(
        TitleTokenizer(pieces).encode(prompts), TitleTokenizer(tokenizer).encode(prompts), strict=True
    ):
        assert [rows[token] for token in after] == before
        torch.testing.assert_close(logits(model, after), logits(full, before)[:, rows], atol=1e-5, rtol=0)
    written = [
        decode_batch(one, spelling, TitleTokenizer(spelling).encode(SHOP), max_tokens=24)
        for one, spelling in ((full, pieces), (model, tokenizer))
    ]
    assert written[0] == written[1]
    assert len(set(written[0])) > 10, "a model that learnt nothing proves nothing"


@given(words=st.lists(st.sampled_from([word for title in SHOP for word in title.split()]), max_size=12))
def test_words_of_the_shop_are_spelled_as_before(words: list[str], spellings: tuple[object, object]) -> None:
    full, trimmed = spellings
    text = " ".join(words)
    assert trimmed.tokenize(text) == full.tokenize(text)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def spellings(folder: Path) -> tuple[object, object]:
    from llmrec.titles.models.cut_tokenizer import kept_tokens, trim_tokenizer, used_tokens

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer, trim_tokenizer(tokenizer, kept_tokens(tokenizer, used_tokens(tokenizer, [SHOP]), 0))


@pytest.mark.parametrize("text", ["baromi ketlun", "Ünïcode Ω 漢字 🙂", "zebra qwx", "</s"])
def test_other_text_is_spelled_by_smaller_pieces_or_bytes(spellings: tuple[object, object], text: str) -> None:
    trimmed = spellings[1]
    ids = trimmed(text).input_ids  # type: ignore[operator]
    assert trimmed.unk_token_id not in ids  # type: ignore[attr-defined]
    assert trimmed.decode(ids, skip_special_tokens=True) == text  # type: ignore[attr-defined]


def test_prompts_are_read_whole(tiny_store: Store) -> None:
    texts = {text for batch in catalogue_texts(tiny_store, [load_prompt("instruct")]) for text in batch}
    assert {" ".join(title.split()) for title in SHOP} <= {" ".join(text.split()) for text in texts}
    assert all(any(title in text for text in texts if len(text) > len(title)) for title in TITLES["JP"])
    assert any("\n5. " in text for text in texts), "the numbers of longer prompts"


def test_fine_tuned_it_goes_back_into_the_full_vocabulary(folder: Path, tiny_store: Store, tmp_path: Path) -> None:
    full, pieces = load_model(str(folder))
    model, tokenizer = trimmed_from(folder, tiny_store)
    unchanged = restore(model, tokenizer, *load_model(str(folder)))
    for name, weight in full.state_dict().items():
        torch.testing.assert_close(unchanged.state_dict()[name], weight, atol=0, rtol=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)  # type: ignore[attr-defined]
    ids = TitleTokenizer(tokenizer).encode(SHOP)
    title_loss(model, {"input_ids": ids, "labels": ids[::-1]}, "cpu").backward()
    optimizer.step()
    restored = restore(model, tokenizer, *load_model(str(folder)))
    rows = rows_of(tokenizer, pieces)
    for after, before in zip(ids, TitleTokenizer(pieces).encode(SHOP), strict=True):
        torch.testing.assert_close(logits(restored, before)[:, rows], logits(model, after), atol=1e-5, rtol=0)
    cut = np.setdiff1d(np.arange(len(pieces)), rows)
    assert torch.equal(restored.lm_head.weight[cut], full.lm_head.weight[cut])
    assert not torch.equal(restored.lm_head.weight[rows], full.lm_head.weight[rows])


def test_another_model_to_go_back_into_is_one_line(folder: Path, tiny_store: Store) -> None:
    model, tokenizer = trimmed_from(folder, tiny_store)
    full, pieces = load_model(str(folder))
    with pytest.raises(ModelError, match="do not fit; give the model that this one was trimmed from"):
        restore(model, tokenizer, MT5ForConditionalGeneration(MT5Config(vocab_size=len(pieces), d_model=64)), pieces)
    own, kept = pieces.get_vocab(), tokenizer.get_vocab()
    first = min(set(own) - set(kept), key=own.__getitem__)
    with pytest.raises(ModelError, match=f"has no token '{re.escape(first)}'"):
        restore(full, pieces, model, tokenizer)


def test_the_verb_trims_and_puts_back_and_gen_goes_on_with_it(
    folder: Path, tiny_store: Store, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    trim_verb(TrimJob(model=str(folder), out=tmp_path / "small", data=tiny_store.path, frequent=0))
    assert "tokens" in capfd.readouterr().err
    data = ["--data", str(tiny_store.path), "--max-steps", "2", "--k", "1", "--max-target-tokens", "12"]
    data += ["--learning-rate", "1e-2"]
    flags = ["--base-model", str(tmp_path / "small"), "--output-dir", str(tmp_path / "run")]
    assert status_of(["generate", *data, *flags]) == 0
    trim_verb(TrimJob(model=str(tmp_path / "run" / "model"), out=tmp_path / "back", restore=str(folder)))
    back, tokenizer = load_model(str(tmp_path / "back"))
    assert back.config.vocab_size == len(tokenizer) + 12
    titles = decode_batch(back, tokenizer, TitleTokenizer(tokenizer).encode(SHOP[:3]), max_tokens=12)
    small = load_model(str(tmp_path / "run" / "model"))
    assert titles == decode_batch(*small, TitleTokenizer(small[1]).encode(SHOP[:3]), max_tokens=12)
    flags = ["--base-model", str(folder), "--trim-vocabulary", "--output-dir", str(tmp_path / "both")]
    assert status_of(["generate", *data, *flags]) == 0
    assert len(read_run(tmp_path / "both" / "titles_validation.parquet")) == 35
    assert load_model(str(tmp_path / "both" / "model"))[0].config.vocab_size < back.config.vocab_size


def test_what_cannot_be_trimmed_is_one_line(folder: Path, tiny_store: Store, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give one of --data STORE"):
        trim_verb(TrimJob(model=str(folder), out=tmp_path / "small"))
    with pytest.raises(ConfigError, match="--trim-vocabulary is for a --base-model NAME"):
        generate_titles(GenerateConfig(data=tiny_store.path, trim_vocabulary=True))
