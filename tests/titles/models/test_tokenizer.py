from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from llmrec.errors import ConfigError, DataError
from llmrec.titles.models.tokenizer import build_tokenizer

TITLES = [
    "Braunfels BX-200 Wasserkocher aus Edelstahl, 1,7 l, schwarz",
    "Braunfels BX-210 Wasserkocher aus Glas, 1,7 l, weiß",
    "【2個セット】Kumo 保温マグカップ 350ml ステンレス ブラック",
    "Kumo Travel Mug, Stainless Steel, 350 ml, Black, Pack of 2",
    "Bouilloire électrique Braunfels BX-200 en acier inoxydable",
] * 20


@pytest.fixture(scope="module")
def tokenizer() -> object:
    return build_tokenizer(TITLES, 500)


@pytest.mark.parametrize("text", [*TITLES[:5], "Ünïcode Ω 漢字 🙂", "a", ""])
def test_any_text_comes_back_and_ends_with_the_end(tokenizer: object, text: str) -> None:
    ids = tokenizer(text).input_ids  # type: ignore[operator]
    assert ids[-1] == tokenizer.eos_token_id == 1  # type: ignore[attr-defined]
    assert tokenizer.unk_token_id not in ids  # type: ignore[attr-defined]
    assert tokenizer.decode(ids, skip_special_tokens=True) == text  # type: ignore[attr-defined]


def test_full_width_forms_are_folded_as_in_mt5(tokenizer: object) -> None:
    assert tokenizer.decode(tokenizer("ＡＢＣ　１２").input_ids, skip_special_tokens=True) == "ABC 12"  # type: ignore


def test_saved_and_loaded_it_gives_the_same_tokens(tokenizer: object, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)  # type: ignore[attr-defined]
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert [loaded(title).input_ids for title in TITLES] == [tokenizer(title).input_ids for title in TITLES]  # type: ignore
    assert len(loaded) == len(tokenizer)  # type: ignore[arg-type]


def test_the_same_titles_build_the_same_tokenizer(tokenizer: object) -> None:
    assert build_tokenizer(TITLES, 500).get_vocab() == tokenizer.get_vocab()  # type: ignore[attr-defined]


def test_nothing_to_learn_from_is_one_line() -> None:
    with pytest.raises(DataError, match="no title to build a tokenizer from"):
        build_tokenizer(["", "  "], 100)


def test_a_vocabulary_smaller_than_the_alphabet_is_one_line() -> None:
    with pytest.raises(ConfigError, match="--tiny-vocab 300 is too small for these titles"):
        build_tokenizer(["".join(chr(0x4E00 + n) for n in range(2000))] * 3, 300)
