"""Drawn titles: the greedy one first, the others as likely as the model says, and none depends on its batch."""

from __future__ import annotations

from collections import Counter
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from llmrec.titles.decoding.decode import decode_batch
from llmrec.titles.decoding.sampling import EPSILON, _Noise, sample_titles
from llmrec.titles.models.model import load_model
from tests.conftest import TITLES
from tests.titles.tiny_llm import write_tiny_llm


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    folder = write_tiny_llm(tmp_path_factory.mktemp("sampling") / "model", TITLES["UK"], kind="llama", chat=False)
    return load_model(str(folder))


def sure(model: Any) -> Any:
    """The model, which now finds some tokens likely: with random weights all are about as likely."""
    model.set_output_embeddings(deepcopy(model.get_output_embeddings()))
    model.config.tie_word_embeddings = False
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(40)
    return model


@pytest.mark.parametrize("encoder", [False, True])
def test_a_prompt_has_the_same_titles_in_any_batch(encoder: bool, loaded: tuple[Any, Any], title_model: Path) -> None:
    model, tokenizer = load_model(str(title_model)) if encoder else loaded
    model = sure(model)
    prompts = [tokenizer(text)["input_ids"] for text in ("Kettle", "Desk Lamp, LED, large", "Mouse")]
    more: dict[str, Any] = {"answers": False, "max_tokens": 8}
    together = sample_titles(model, tokenizer, prompts, 3, **more)
    assert [sample_titles(model, tokenizer, [one], 3, **more)[0] for one in prompts] == together
    assert [titles[0] for titles in together] == decode_batch(model, tokenizer, prompts, max_tokens=8)
    assert len({title for titles in together for title in titles}) > 3


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    likely = torch.tensor([0.5, 0.3, 0.19, EPSILON / 2])
    rows = 4000
    drawn = _Noise([(0, number + 1) for number in range(rows)])(torch.zeros(0), likely.log().expand(rows, 4).clone())
    counts = Counter(drawn.argmax(-1).tolist())
    assert counts[3] == 0
    shares = np.array([counts[token] / rows for token in range(3)])
    np.testing.assert_allclose(shares, likely[:3] / likely[:3].sum(), atol=4 * np.sqrt(0.25 / rows))
