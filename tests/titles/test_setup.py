"""The surroundings of one call: where its data comes from."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from accelerate.state import AcceleratorState

from llmrec.errors import ConfigError
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.setup import prepare_job, refuse_fp16
from tests.rewriting import rewrite

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


def built_in_store(out: Path) -> Path:
    AcceleratorState._reset_state(reset_partial_state=True)
    return prepare_job(GenerateConfig(synthetic="tiny", output_dir=out)).store.path


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return built_in_store(tmp_path / "out")


def stamp(store: Path) -> int:
    return (store / "manifest.json").stat().st_mtime_ns


def test_built_in_data_is_made_once_and_again_when_its_version_is_another(store: Path, tmp_path: Path) -> None:
    made = stamp(store)
    assert stamp(built_in_store(tmp_path / "out")) == made

    settings = store.parent / "csv" / "synth.json"
    current = json.loads(settings.read_text())
    rewrite(settings, {"version": current["version"] - 1})
    assert stamp(built_in_store(tmp_path / "out")) > made
    assert json.loads(settings.read_text()) == current


def test_an_old_store_does_not_outlive_a_stop_between_new_data_and_its_import(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stamp(store)
    settings = store.parent / "csv" / "synth.json"
    rewrite(settings, {"version": 0})

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("llmrec.titles.setup.import_dataset", stopped)
        with pytest.raises(KeyboardInterrupt):
            built_in_store(tmp_path / "out")
    assert stamp(built_in_store(tmp_path / "out")) > made


@pytest.mark.parametrize(
    ("enabled", "precision", "refused"), [(True, "no", True), ("auto", "bf16", False), (False, "fp16", True)]
)
def test_fp16_of_a_deepspeed_configuration_is_refused(enabled: object, precision: str, refused: bool) -> None:
    plugin = SimpleNamespace(deepspeed_config={"fp16": {"enabled": enabled}})
    accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin), mixed_precision=precision)
    if refused:
        with pytest.raises(ConfigError, match="mT5 overflows in fp16"):
            refuse_fp16(accelerator)
    else:
        refuse_fp16(accelerator)
