import math

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sacrebleu.metrics import BLEU

from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bleu import bleu_from_stats, bleu_signature, bleu_stats, corpus_bleu, own_bleu
from llmrec.languages import BLEU_TOKENIZERS

WORDS = [
    "Kaffee",
    "Maschine",
    "10.000",
    "3,5",
    "l-",
    "&amp;",
    "スマホ",
    "ケース",
    "iPhone13",
    "100%",
    "été",
    "\u3000",
    "-",
    "a",
]
title = st.one_of(st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join), st.text(max_size=25))
pairs = st.lists(st.tuples(title, title), min_size=1, max_size=8)


def reference(tokenize: str) -> BLEU:
    return BLEU(tokenize=tokenize, smooth_method="none", force=True)


@settings(max_examples=200, deadline=None)
@given(pairs, st.sampled_from(BLEU_TOKENIZERS))
@example([("", "a b c d")], "13a")
@example([("a b c d", "")], "13a")
@example([("", "")], "13a")
@example([("a b c d", "a b c d e f g h")], "13a")
@example([("スマホ ケース 耐衝撃", "スマホケース 耐衝撃 透明")], "char")
def test_bleu_agrees_with_sacrebleu(titles, tokenize):
    written, wanted = [pair[0] for pair in titles], [pair[1] for pair in titles]
    expected = reference(tokenize).corpus_score(written, [wanted])
    sums = bleu_stats(written, wanted, tokenize).sum(axis=0)
    assert sums.tolist() == [*expected.counts, *expected.totals, expected.sys_len, expected.ref_len]
    ours = corpus_bleu(written, wanted, tokenize)
    assert ours.score == pytest.approx(expected.score, abs=1e-9)
    assert ours.brevity_penalty == pytest.approx(expected.bp, abs=1e-12)
    assert ours.length_ratio == pytest.approx(expected.ratio, abs=1e-12)


@pytest.mark.parametrize("tokenize", BLEU_TOKENIZERS)
def test_the_signature_is_sacrebleus(tokenize):
    metric = reference(tokenize)
    metric.corpus_score(["a"], [["a"]])
    assert bleu_signature(tokenize) == str(metric.get_signature())


def test_own_bleu_counts_each_title_in_its_locales_tokens():
    # JP in characters: of 3 written 1-grams 2 are found, of 2 2-grams 1, of the one 3-gram none; UK: all 5, 4, 3 and 2
    written, wanted = ["青い傘", "a b c d e"], ["青い空", "a b c d e"]
    expected = 100 * (7 / 8 * 5 / 6 * 3 / 4 * 2 / 2) ** (1 / 4)
    assert own_bleu(written, wanted, ["JP", "UK"]) == pytest.approx(expected, abs=1e-9)
    assert own_bleu(written, wanted, ["DE", "UK"]) == pytest.approx(corpus_bleu(written, wanted).score, abs=1e-9)


def test_bleu_matches_the_value_worked_by_hand():
    # written 5 tokens, wanted 6: a b c d match; precisions 4/5, 3/4, 2/3, 1/2; penalty exp(1 - 6/5)
    expected = 100 * math.exp(1 - 6 / 5) * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4)
    assert corpus_bleu(["a b c d x"], ["a b c d e f"]).score == pytest.approx(expected, abs=1e-9)


def test_a_repeated_word_counts_no_more_often_than_in_the_target():
    assert bleu_stats(["a a a"], ["a a b"]).tolist() == [[2, 1, 0, 0, 3, 2, 1, 0, 3, 3]]


def test_a_corpus_without_a_matching_four_gram_scores_zero():
    assert corpus_bleu(["a b c x"], ["a b c d"]).score == 0.0


def test_bleu_of_many_corpora_is_that_of_each():
    stats = bleu_stats(["a b c d", "a b c d e", ""], ["a b c d", "a b c d x", "a"])
    alone = [float(bleu_from_stats(row)) for row in stats]
    assert bleu_from_stats(stats).tolist() == alone
    assert alone[0] == pytest.approx(100.0)


def test_an_unknown_tokenizer_or_unequal_lengths_are_refused():
    with pytest.raises(ConfigError, match="unknown BLEU tokenizer 'mecab'; known: 13a, char"):
        bleu_stats(["a"], ["a"], "mecab")
    with pytest.raises(DataError, match="2 predicted titles for 1 targets"):
        bleu_stats(["a", "b"], ["a"])
