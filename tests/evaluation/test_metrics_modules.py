"""The metrics as modules of Hugging Face's evaluate: loaded by path, offline, with the library's own values."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from llmrec.errors import ConfigError
from llmrec.evaluation.bleu import corpus_bleu
from llmrec.evaluation.modules import METRICS, metric_path


@pytest.mark.parametrize("name", METRICS)
def test_a_module_is_a_script_of_its_folders_name_with_one_metric(name: str) -> None:
    script = Path(metric_path(name)) / f"{name}.py"
    classes = [node for node in ast.parse(script.read_text(encoding="utf-8")).body if isinstance(node, ast.ClassDef)]
    assert len(classes) == 1  # evaluate takes the first it finds


def test_an_unknown_module_is_refused() -> None:
    with pytest.raises(ConfigError, match="no metric 'mmr'; did you mean 'mrr'"):
        metric_path("mmr")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed; it comes with the dev extra")
    return lambda name: evaluate.load(metric_path(name), cache_dir=str(tmp_path))


@pytest.mark.parametrize(("name", "expected"), [("mrr", (1 + 1 / 2) / 4), ("hit", 2 / 4), ("ndcg", 1.6309297535 / 4)])
def test_ranked_lists_score_as_worked_by_hand(load, name: str, expected: float) -> None:
    lists, wanted = [["a", "b"], ["a", "b"], ["c"], []], ["a", "b", "x", "a"]
    found = load(name).compute(predictions=lists, references=wanted, k=2)
    assert found == {f"{name}@2": pytest.approx(expected)}
    batched = load(name)
    batched.add_batch(predictions=lists[:2], references=wanted[:2])
    batched.add_batch(predictions=lists[2:], references=wanted[2:])
    assert batched.compute() == {f"{name}@100": pytest.approx(expected)}


def test_titles_score_the_papers_bleu(load) -> None:
    written, wanted = ["red cable two metres long"], ["red cable two metres short"]
    found = load("title_bleu").compute(predictions=written, references=wanted)
    assert found["title_bleu"] == pytest.approx(corpus_bleu(written, wanted).score)
    assert "tok:13a|smooth:none" in found["signature"]
