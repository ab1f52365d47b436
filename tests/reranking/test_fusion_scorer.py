"""A language model scores what fusion's sources propose: as `rerank` does, once each, and the same when read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmrec
from llmrec.errors import ConfigError, ModelError
from llmrec.rankers import load_ranker
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.reranking import by_model
from llmrec.testing.ranker_contract import products, training_sessions
from tests.titles.tiny_llm import write_tiny_llm

TOP = 4
SESSIONS = [["B03", "B04"], ["B10"], ["B03", "B04", "B10"]]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    titles = products()["title"].to_pylist()
    return str(write_tiny_llm(tmp_path_factory.mktemp("scorer") / "model", titles, kind="llama", chat=False))


def fitted(model: str | None, table: Any = None, **changes: Any) -> Fusion:
    few: dict[str, Any] = {"rounds": 5, "min_leaf": 5, "threads": 1, "folds": 2, "sources": ("covisit_near",)}
    settings = FusionSettings(**few, max_sessions=30, scorers=("llm",), llm_model=model, llm_top=TOP, **changes)
    return Fusion(settings).fit(training_sessions(), products() if table is None else table)


def features(ranker: Fusion, locale: str = "DE") -> tuple[Any, Any, np.ndarray[Any, Any]]:
    """Sessions, candidates, and the model's score of each."""
    coded = ranker.catalogue.encode_lists(SESSIONS, [locale] * len(SESSIONS)).known()
    found, values = ranker.seen_by_trees(coded, "drop")
    assert ranker.trees is not None
    return coded, found, values[:, ranker.trees.feature_names().index("neural.llm.score")]


@pytest.fixture(scope="module")
def ranker(model: str) -> Fusion:
    return fitted(model)


def test_the_best_candidates_by_rank_have_the_scores_of_rerank(ranker: Fusion, model: str) -> None:
    _, found, scores = features(ranker)
    names = np.array(ranker.catalogue.vocabulary.decode(found.codes).to_pylist())
    for row, session in enumerate(SESSIONS):
        mine = found.rows == row
        known = mine & ~np.isnan(scores)
        assert known.sum() == TOP < mine.sum()
        assert found.prior[known].min() >= found.prior[mine & np.isnan(scores)].max()
        alone = llmrec.rerank([names[known].tolist()], [session], products(), model, locale="DE")
        wanted = dict(zip(alone.to_list()[0], alone.scores[0].as_py(), strict=True))
        assert dict(zip(names[known], scores[known], strict=True)) == pytest.approx(wanted, abs=1e-3)


def test_a_saved_one_ranks_the_same_without_products(ranker: Fusion, tmp_path: Path) -> None:
    ranker.save(tmp_path / "model")
    again = load_ranker(tmp_path / "model")
    assert [*again.rank(SESSIONS, locale="DE").provenance["scorer_weights"]] == ["llm"]
    assert again.rank(SESSIONS, locale="DE").to_list() == ranker.rank(SESSIONS, locale="DE").to_list()
    alone = [again.rank([one], locale="DE").to_list()[0] for one in SESSIONS]
    assert alone == ranker.rank(SESSIONS, locale="DE").to_list()
    np.testing.assert_array_equal(features(again)[2], features(ranker)[2])  # type: ignore[arg-type]


def test_another_model_in_its_place_is_one_line(tmp_path: Path) -> None:
    titles = products()["title"].to_pylist()
    place = write_tiny_llm(tmp_path / "model", titles, kind="llama", chat=False)
    fitted(str(place)).save(tmp_path / "fusion")
    write_tiny_llm(place, titles[:9], kind="llama", chat=False)
    again = load_ranker(tmp_path / "fusion")
    with pytest.raises(ModelError, match="not the language model that the trees were fitted with"):
        again.rank(SESSIONS, locale="DE")


def test_answers_that_are_kept_are_not_asked_again(
    model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []
    plain = by_model.log_probs

    def counting(model: Any, groups: Any, **more: Any) -> Any:
        asked.append(sum(map(len, groups)))
        return plain(model, groups, **more)

    monkeypatch.setattr(by_model, "log_probs", counting)
    first = fitted(model, llm_cache=str(tmp_path / "answers.sqlite"))
    assert 0 < sum(asked) <= TOP * (30 + 3)  # each of 30 sessions once, whatever the folds, and three to try
    assert "of each of 30 sessions" in capsys.readouterr().err
    asked.clear()
    second = fitted(model, llm_cache=str(tmp_path / "answers.sqlite"))
    assert not asked
    assert second.trees is not None
    assert first.trees is not None
    assert second.trees.texts == first.trees.texts


def test_what_is_missing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match="llm needs a language model"):
        fitted(None)
    with pytest.raises(ModelError, match=r"missing\.gguf: no such file"):
        fitted("missing.gguf")
    settings = FusionSettings(sources=("covisit_near",), scorers=("llm",), rounds=5, folds=2, llm_model="none")
    bare = Fusion(settings).fit(training_sessions())
    assert "no --products, so llm scores nothing" in capsys.readouterr().err
    assert bare.trees is not None
    assert not [name for name in bare.trees.feature_names() if "llm" in name]
