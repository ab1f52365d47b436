"""What a tokenizer cannot write is counted before a training, and comes back where the session's titles have it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from datasets import Dataset

from llmrec.data.store import Store
from llmrec.evaluation.bleu import corpus_bleu
from llmrec.evaluation.runs import read_run
from llmrec.titles.ceiling import ceiling_of, forms_of, restore_forms
from llmrec.titles.generation import run_generation
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.settings import GenerateConfig

TITLES = ["急速充電ケーブル（２本セット） 白", "USB-C cable, 2 m (black) for the desk", "ﾎﾟｯﾄ 電気ケトル：１.７L 黒"]
WRITTEN = ["急速充電ケーブル(2本セット) 白", "USB-C cable, 2 m (black) for the desk", "ホ\u309aット 電気ケトル:1.7L 黒"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return build_tokenizer([f"{title} {number}" for title in TITLES for number in range(4)], 400)


def sessions(tokenizer: Any, most: int) -> Dataset:
    labels = [tokenizer(title).input_ids[:most] for title in TITLES]
    return Dataset.from_dict({"target_title": TITLES, "labels": labels, "locale": ["JP", "UK", "JP"]})


def test_the_ceiling_is_the_bleu_of_what_comes_back(tokenizer: Any) -> None:
    found = ceiling_of(sessions(tokenizer, 200), tokenizer, 200)
    assert found is not None
    assert found.bleu["UK"] == pytest.approx(100)
    assert found.bleu["JP char"] == pytest.approx(corpus_bleu(WRITTEN[::2], TITLES[::2], "char").score, abs=0.01)
    assert found.bleu["all"] == pytest.approx(corpus_bleu(WRITTEN, TITLES).score, abs=0.01)
    assert found.lost == dict.fromkeys("（２）ﾎﾟｯﾄ：１７", 1)
    assert found.line.startswith("the tokenizer gives 3 targets back with BLEU")


def test_a_title_that_is_cut_is_counted_and_loses_no_characters(tokenizer: Any) -> None:
    found = ceiling_of(sessions(tokenizer, 4), tokenizer, 4)
    assert found is not None
    assert (found.num_cut, found.lost) == (3, {})


def test_where_no_target_is_known_there_is_no_ceiling(tokenizer: Any) -> None:
    unknown = Dataset.from_dict({"target_title": [None], "labels": [[]], "locale": ["JP"]})
    assert ceiling_of(unknown, tokenizer, 9) is None


@pytest.mark.parametrize(
    ("title", "own", "restored"),
    [
        *((written, [title], title) for written, title in zip(WRITTEN, TITLES, strict=True)),
        ("毛布(灰)", ["毛布（白）"], "毛布（灰）"),  # other neighbours, but no title has the plain form
        ("毛布(灰)", ["毛布(白)"], "毛布(灰)"),
        ("毛布(白) 枕(大)", ["毛布（白） 枕(大)"], "毛布（白） 枕(大)"),  # each as beside its neighbours
        ("毛布(灰)", ["毛布（白）", "枕(大)"], "毛布(灰)"),  # it may be either
        ("毛布", [], "毛布"),
    ],
)
def test_forms_come_back_where_the_session_decides_them(
    title: str, own: list[str], restored: str, tokenizer: Any
) -> None:
    form = forms_of(tokenizer)
    assert form is not None
    assert restore_forms(title, own, form) == restored


def test_a_run_says_it_and_restores_what_was_asked(
    tiny_store: Store, title_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = tmp_path / "a" / "titles_validation.parquet"
    monkeypatch.setattr("llmrec.titles.generation.restore_forms", lambda title, own, form: f"{len(own)} own")
    AcceleratorState._reset_state(reset_partial_state=True)
    run_generation(
        GenerateConfig(
            data=tiny_store.path, model=str(title_model), output_dir=tmp_path / "a", restore_forms=True, report=True
        )
    )
    run = read_run(written)
    assert set(run.predictions.to_pylist()) <= {"0 own", "1 own", "2 own"}  # K is 2
    assert run.provenance["tokenizer_ceiling"]["num_titles"] > 0
    assert "At most: the tokenizer gives" in (tmp_path / "a" / "report.html").read_text(encoding="utf-8")
