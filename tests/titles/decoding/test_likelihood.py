"""What is read once for many texts and in batches is what each text alone would have had."""

from __future__ import annotations

import random
from itertools import chain
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from llmrec.titles.decoding import likelihood
from llmrec.titles.decoding.likelihood import Question, length_alike, log_probs, takes_shared_rows
from llmrec.titles.models.model import build_tiny_mt5, load_model
from tests.titles.tiny_llm import write_tiny_llm

VOCABULARY = 100


def _gemma3() -> Any:
    """With a window that prompts are longer than."""
    layers = ["sliding_attention", "full_attention", "sliding_attention"]
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
    config = Gemma3TextConfig(
        vocab_size=VOCABULARY, num_hidden_layers=3, head_dim=16, sliding_window=8, layer_types=layers, **sizes
    )
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config)


@pytest.fixture(scope="module", params=["llama", "gemma3", "mt5"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if request.param == "llama":
        folder = write_tiny_llm(tmp_path_factory.mktemp("llama"), ["red cup"], kind="llama")
        return load_model(str(folder))[0].eval()
    return (_gemma3() if request.param == "gemma3" else build_tiny_mt5(VOCABULARY, 32, 1, 0)).eval()


def alone(model: Any, question: Question) -> list[float]:
    """The reads of a question, each by a text of its own, without any cache."""
    found = []
    for place, token in question.reads:
        before = list(question.given[:place])
        if model.config.is_encoder_decoder:
            tokens = {"input_ids": [list(question.context)], "decoder_input_ids": [[0, *before]]}
        else:
            tokens = {"input_ids": [[*question.context, *before]]}
        with torch.no_grad():
            logits = model(**{name: torch.tensor(ids) for name, ids in tokens.items()}).logits[0, -1]
        found.append(torch.log_softmax(logits, -1)[token].item())
    return found


def groups(seed: int) -> list[list[Question]]:
    """Sessions of one to four questions: titles after one text, and answers after texts that differ at their end."""
    draw = random.Random(seed)

    def ids(count: int) -> list[int]:
        return [draw.randrange(5, VOCABULARY) for _ in range(count)]

    made = []
    for length in (1, 2, 30, 7):
        context = ids(length)
        titles = [ids(draw.choice([1, 3, 6])) for _ in range(draw.choice([1, 3, 4]))]
        made.append([Question(context, title, list(enumerate(title))) for title in titles])
        made.append([Question([*context, *title], [9], [(0, 5), (0, 6), (1, 7)]) for title in titles])
    return made


@pytest.mark.parametrize(("tokens", "shared"), [(None, True), (40, True), (200, False)])
def test_shared_starts_and_batches_change_nothing(model: Any, tokens: int | None, shared: bool) -> None:
    asked = groups(seed=tokens or 0)
    found = log_probs(model, asked, tokens, shared=shared)
    wanted = [[alone(model, question) for question in group] for group in asked]
    assert [[len(reads) for reads in group] for group in found] == [[len(reads) for reads in group] for group in wanted]
    for got, want in zip(chain(*found), chain(*wanted), strict=True):
        assert got == pytest.approx(want, abs=1e-4)


def test_the_start_of_a_group_is_read_once(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    context, titles = list(range(5, 45)), [[7, 8], [9, 10], [11, 12]]
    read: list[int] = []
    part = model.get_encoder() if model.config.is_encoder_decoder else model
    forward = part.forward

    def counting(*args: Any, **given: Any) -> Any:
        read.append(given["input_ids"].numel())
        return forward(*args, **given)

    monkeypatch.setattr(part, "forward", counting)
    log_probs(model, [[Question(context, title, list(enumerate(title))) for title in titles]])
    # 40 ids of the context, and where there is no encoder the first id of each title
    assert sum(read) == (40 if model.config.is_encoder_decoder else 40 + 3)


def test_a_model_that_lets_rests_read_each_other_is_found(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert takes_shared_rows(model)
    monkeypatch.setattr(likelihood, "_mask", lambda *_: None)
    assert takes_shared_rows(model) == model.config.is_encoder_decoder


def test_what_rows_start_with_alike() -> None:
    assert length_alike([[1, 2, 3], [1, 2], [1, 2, 4]]) == 2
    assert length_alike([[1, 2, 3]]) == 3
    assert length_alike([[1], [2]]) == 0


def test_nothing_asked_is_nothing_answered(model: Any) -> None:
    assert log_probs(model, []) == []
