"""Held to the catalogue, a model names existing products and nothing else."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.cli import status_of
from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.runs import read_run
from llmrec.titles import generate_titles
from llmrec.titles.decoding.constrain import TitleConstraint, decode_constrained
from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.decoding.trie import Prefix, TitleTrie, build_trie, catalogue_titles
from llmrec.titles.models.model import build_tiny_mt5
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting.prompt_tokens import encode_titles
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.training.losses import title_loss
from tests.conftest import TITLES

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
WORDS = ["a", "ab", "abc", "b", "ba", "Maus", "マウス", "15 m", "15", "🙂"]
SHOP = [title for titles in TITLES.values() for title in titles]


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return build_tokenizer(SHOP * 3, 400)


def trie_of(titles: dict[str, list[str]], tokenizer: object, max_tokens: int = 32) -> TitleTrie:
    rows = [{"locale": locale, "title": title} for locale in sorted(titles) for title in sorted(set(titles[locale]))]
    return build_trie(pa.Table.from_pylist(rows), tokenizer, max_tokens)


titles = st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=5).map(" ".join), min_size=1, max_size=30)


@given(titles=titles, max_tokens=st.integers(3, 32))
def test_what_may_follow_is_what_follows_in_some_title(titles: list[str], max_tokens: int, tokenizer: object) -> None:
    trie = trie_of({"DE": titles, "UK": ["other"]}, tokenizer, max_tokens)
    rows = {tuple(ids) for ids in encode_titles(TitleTokenizer(tokenizer), titles, max_tokens)}
    waiting, found = [((), trie.root("DE"))], set()
    while waiting:
        tokens, prefix = waiting.pop()
        allowed = trie.following(prefix)[0].tolist()
        assert allowed == sorted({row[len(tokens)] for row in rows if row[: len(tokens)] == tokens and row != tokens})
        found |= {tokens} if not allowed else set()
        for token in allowed:
            longer = trie.extend(prefix, token)
            assert isinstance(longer, Prefix)
            waiting.append(((*tokens, token), longer))
        assert trie.extend(prefix, 399) is None or 399 in allowed
    assert found == rows


@settings(max_examples=15)
@given(titles=titles, seed=st.integers(0, 1000), beams=st.integers(1, 4))
def test_every_text_of_any_model_is_a_title_of_its_locale(
    titles: list[str], seed: int, beams: int, tokenizer: object
) -> None:
    catalogue = {"DE": titles, "UK": ["Kettle 1.7 L", "Desk Lamp, LED"]}
    model = build_tiny_mt5(len(tokenizer), 32, 1, seed).eval()  # type: ignore[arg-type]
    prompts = TitleTokenizer(tokenizer).encode(["Kettle", "Maus || Maus", "a"])
    locales, trie = ["DE", "UK", "DE"], trie_of(catalogue, tokenizer)
    written = decode_constrained(model, tokenizer, prompts, locales, trie, max_tokens=32, num_beams=beams)
    for locale, texts in zip(locales, written, strict=True):
        assert 1 <= len(texts) <= beams
        assert len(set(texts)) == len(texts)
        assert set(texts) <= set(catalogue[locale])


def test_the_best_beams_are_the_titles_with_the_best_scores(tokenizer: object) -> None:
    """With as many beams as titles none is pruned, so the order must be that of the mean log-likelihoods."""
    model = build_tiny_mt5(len(tokenizer), 32, 1, seed=3).eval()  # type: ignore[arg-type]
    prompt = TitleTokenizer(tokenizer).encode(["Garden Hose"])
    trie = trie_of({"UK": TITLES["UK"]}, tokenizer)
    (written,) = decode_constrained(model, tokenizer, prompt, ["UK"], trie, max_tokens=32, num_beams=8)
    scores = {}
    for title, ids in zip(TITLES["UK"], TitleTokenizer(tokenizer).encode(TITLES["UK"]), strict=True):
        with torch.no_grad():
            scores[title] = -title_loss(model, {"input_ids": prompt, "labels": [ids]}, "cpu").item() / len(ids)
    assert written == sorted(scores, key=scores.__getitem__, reverse=True)


def test_a_model_that_writes_a_title_of_its_own_accord_writes_the_same(tokenizer: object) -> None:
    model = build_tiny_mt5(len(tokenizer), 64, 1, seed=0)  # type: ignore[arg-type]
    ids = TitleTokenizer(tokenizer).encode(SHOP)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        (title_loss(model, {"input_ids": ids, "labels": ids}, "cpu") / sum(map(len, ids))).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    locales = [locale for locale, titles in TITLES.items() for _ in titles]
    free = decode_batch(model, tokenizer, ids, max_tokens=32)
    held = decode_constrained(model, tokenizer, ids, locales, trie_of(TITLES, tokenizer), max_tokens=32)
    own = [place for place, title in enumerate(free) if title in TITLES[locales[place]]]
    assert len(own) > 10, "a model that learnt nothing proves nothing"
    assert [held[place][0] for place in own] == [free[place] for place in own]


def test_a_cut_title_is_given_whole(tokenizer: object) -> None:
    trie = trie_of({"UK": ["Garden Hose 15 m, very long"]}, tokenizer, max_tokens=4)
    model = build_tiny_mt5(len(tokenizer), 32, 1, seed=0).eval()  # type: ignore[arg-type]
    written = decode_constrained(model, tokenizer, [[5, 1]], ["UK"], trie, max_tokens=4)
    assert written == [["Garden Hose 15 m, very long"]]


def test_a_beam_off_the_trie_stays_off(tokenizer: object) -> None:
    constraint = TitleConstraint(trie_of({"UK": ["a"]}, tokenizer), ["UK"], num_beams=2)
    scores = torch.zeros((2, 400))
    (ids,) = TitleTokenizer(tokenizer).encode(["a"])
    first = constraint(torch.zeros((2, 1), dtype=torch.long), scores)
    assert torch.nonzero(first[0] == 0)[:, 0].tolist() == ids[:1]
    after = constraint(torch.tensor([[0, ids[0]], [0, ids[0] + 1]]), scores)
    assert torch.nonzero(after[0] == 0)[:, 0].tolist() == ids[1:2]
    assert torch.nonzero(after[1] == 0)[:, 0].tolist() == [0], "padding alone, and that without a score"


def test_a_locale_without_titles_is_one_line(tokenizer: object) -> None:
    with pytest.raises(DataError, match="no product of locale 'SE' has a title"):
        trie_of({"UK": ["a"]}, tokenizer).root("SE")


def test_gen_names_products_alone_and_ranks_those_of_its_beams(tmp_path: Path, tiny_store: Store) -> None:
    flags = ["--data", str(tiny_store.path), "--max-steps", "2", "--k", "1", "--base-model", "tiny"]
    flags += ["--tiny-width", "32", "--tiny-layers", "1", "--tiny-vocab", "400", "--num-beams", "3"]
    flags += ["--constrain", "catalogue", "--items", str(tmp_path / "items.parquet"), "--output-dir", str(tmp_path)]
    assert status_of(["generate", *flags]) == 0
    written, items = read_run(tmp_path / "titles_validation.parquet"), read_run(tmp_path / "items.parquet")
    rows = catalogue_titles(tiny_store).to_pylist()
    for locale, title, ids in zip(
        written.locales.to_pylist(), written.predictions.to_pylist(), items.predictions.to_pylist(), strict=True
    ):
        assert {"locale": locale, "title": title} in rows
        assert 1 <= len(ids) <= 3
        assert TITLES[locale][int(ids[0].removeprefix("X"))] == title


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"items": Path("run.parquet")}, "--items needs --constrain catalogue"),
        ({"constrain": "catalogue", "backend": "ctranslate2"}, "--constrain catalogue needs --backend transformers"),
        (
            {"decode_precision": "int8"},
            "--decode-precision int8 with --backend transformers: use --backend ctranslate2",
        ),
        ({"decode_precision": "fp16"}, "mT5 overflows in it; use bf16"),
    ],
)
def test_settings_that_exclude_each_other_are_one_line(flags: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        generate_titles(GenerateConfig(**flags))  # type: ignore[arg-type]
