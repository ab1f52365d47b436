"""A locale that the package does not know, with a language file of its user's, from prompts to scores."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from accelerate.state import AcceleratorState

from llmrec.cli import main, status_of
from llmrec.evaluation.runs import read_run
from tests.selection.shop import QUICK, write_store
from tests.selection.test_gen_select import TINY

LANGUAGES = """
locales:
  CN: {language: zh, bleu: zh}
phrases:
  next_title/instruct_v1:
    zh: {viewed: "顾客依次浏览了这些商品:", next: "下一个商品的标题:"}
"""

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shop of the other tests, its locale US being CN."""
    (tmp_path / "languages.yaml").write_text(LANGUAGES, encoding="utf-8")
    monkeypatch.setenv("LLMREC_LANGUAGES", str(tmp_path / "languages.yaml"))
    folder = write_store(tmp_path / "store").path
    for file in folder.glob("*.parquet"):
        table = pq.read_table(file)
        renamed = pc.if_else(pc.equal(table["locale"], "US"), pa.scalar("CN"), table["locale"])
        pq.write_table(table.set_column(table.column_names.index("locale"), "locale", renamed), file)
    return folder


def llmrec(*words: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    assert stop.value.code == 0


def test_a_prompt_speaks_its_language(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    locales = pq.read_table(store / "sessions_development.parquet")["locale"].to_pylist()
    llmrec("prompts", "render", "instruct", "--data", store, "--split", "development", "--session", locales.index("CN"))
    assert "顾客依次浏览了这些商品:" in capsys.readouterr().out


def test_titles_are_generated_and_scored_in_its_tokens(store: Path, tmp_path: Path) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    flags = ["--data", str(store), "--output-dir", str(tmp_path / "out"), "--prompt", "instruct", "--best-by", "bleu"]
    flags += ["--max-source-tokens", "200"]
    assert status_of(["generate", *TINY, *flags]) == 0
    result = json.loads((tmp_path / "out" / "titles_validation.result.json").read_text(encoding="utf-8"))
    assert set(result["signatures"]) == {"bleu", "bleu_char", "bleu_zh"}
    assert "bleu_zh" in result["locales"]["CN"]["metrics"]
    assert result["provenance"]["languages"]["file"] == "languages.yaml"


def test_titles_are_chosen_and_scored_in_its_tokens(store: Path, tmp_path: Path) -> None:
    out, scores, targets = tmp_path / "run.parquet", tmp_path / "r.json", store / "sessions_validation.parquet"
    settings = [f"{name}={value}" for name, value in {**QUICK, "sources": "[covisit_near]"}.items()]
    changes = [word for one in settings for word in ("--set", one)]
    llmrec("select", "--data", store, "--split", "validation", "--out", out, *changes)
    assert read_run(out).provenance["tokenizers"] == {"CN": "zh", "JP": "char"}
    llmrec(
        "evaluate", out, "--targets", targets, "--products", store / "products.parquet", "--json", tmp_path / "r.json"
    )
    result = json.loads(scores.read_text(encoding="utf-8"))
    assert result["locales"]["CN"]["metrics"]["bleu_zh"] > 0
