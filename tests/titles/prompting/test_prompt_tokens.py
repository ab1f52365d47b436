from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from llmrec.errors import ConfigError
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting.prompt_tokens import encode_prompts, encode_titles
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from tests.conftest import TITLES

PLAIN = load_prompt("plain_v1")
LONG = "Kettle 1.7 L Desk Lamp, LED Garden Hose 15 m"


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return build_tokenizer([title for titles in TITLES.values() for title in titles] * 3, 500)


def test_what_the_tokenizer_was_set_to_before_does_not_matter(tokenizer: PreTrainedTokenizerFast) -> None:
    """Truncation and padding of an earlier call live on in a fast tokenizer; here they would cut to 3 and pad."""
    expected = TitleTokenizer(tokenizer).encode([LONG, "LED"])
    encoder = TitleTokenizer(tokenizer)
    tokenizer([LONG, "LED"], truncation=True, max_length=3, padding="max_length")
    assert encoder.encode([LONG, "LED"]) == expected
    tokenizer([LONG, "LED"], truncation=True, max_length=3, padding="max_length")
    assert TitleTokenizer(tokenizer).by_words
    tokenizer([LONG, "LED"], truncation=True, max_length=3, padding="max_length")
    assert len(encoder.ends(LONG)) == len(expected[0]) - 1
    assert [len(ids) for ids in expected] == [len(tokenizer(text)["input_ids"]) for text in (LONG, "LED")]


@pytest.mark.parametrize("spelt", ["</s>", "<pad>", "<unk>"])
def test_a_special_token_in_a_title_is_text(tokenizer: PreTrainedTokenizerFast, spelt: str) -> None:
    (ids,) = TitleTokenizer(tokenizer).encode([f"Kettle {spelt} Lamp"])
    assert not {tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id} & set(ids[:-1])
    assert tokenizer.decode(ids[:-1]) == f"Kettle < {spelt[1:]} Lamp"
    (labels,) = encode_titles(TitleTokenizer(tokenizer), [f"Lamp {spelt}"], 96)
    assert labels.count(tokenizer.eos_token_id) == 1


def test_a_batch_equals_one_by_one(tokenizer: PreTrainedTokenizerFast) -> None:
    sessions = [("UK", [{"title": LONG}] * number) for number in range(6)]
    texts, ids = encode_prompts(PLAIN, TitleTokenizer(tokenizer), sessions, 25)
    alone = [encode_prompts(PLAIN, TitleTokenizer(tokenizer), [session], 25) for session in sessions]
    assert (texts, ids) == ([text for (text,), _ in alone], [row for _, (row,) in alone])
    assert texts[0] == ""  # no titled product: an empty prompt is the end token alone
    assert ids[0] == [tokenizer.eos_token_id]


def test_a_title_that_cannot_be_cut_enough_is_one_line(tokenizer: PreTrainedTokenizerFast) -> None:
    """🙂 is five tokens, a start and four bytes, and the end is a sixth: five have no room for any of it."""
    assert len(TitleTokenizer(tokenizer).encode(["🙂"])[0]) == 6
    assert encode_prompts(PLAIN, TitleTokenizer(tokenizer), [("UK", [{"title": "🙂🙂"}])], 6)[0] == ["🙂"]
    with pytest.raises(ConfigError, match=r"--max-source-tokens 5 leaves no room .* at least 6"):
        encode_prompts(PLAIN, TitleTokenizer(tokenizer), [("UK", [{"title": "🙂🙂"}])], 5)


def test_spaces_of_every_kind_and_control_characters_encode_as_the_tokenizer_does(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    encoder = TitleTokenizer(tokenizer)
    marks = ["\t", "\n", "\r", "\u00a0", "\u3000", "\u2028", "\x85", "\u0301", "\u200b", "\ufeff", "\u00b4"]
    texts = [text for mark in marks for text in (f"LED {mark}Lamp", f"LED{mark} Lamp", f"LED {mark} Lamp", mark)]
    assert encoder.by_words
    assert encoder.encode(texts) == encoder.encode(texts) == tokenizer(texts)["input_ids"]
