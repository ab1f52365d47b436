"""``--resume`` goes on with a training only where every setting that decides its weights is the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState

from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.titles import generate_titles
from llmrec.titles.settings import GenerateConfig
from llmrec.training.checkpoint import is_finished

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")


def generate(config: GenerateConfig, **changes: Any) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    generate_titles(dataclasses.replace(config, **changes))


@pytest.fixture
def config(tmp_path: Path, tiny_store: Store) -> GenerateConfig:
    tiny = {"tiny_width": 32, "tiny_layers": 1, "tiny_vocab": 400, "max_source_tokens": 48, "max_target_tokens": 8}
    return GenerateConfig(data=tiny_store.path, output_dir=tmp_path / "run", max_steps=2, batch_size=8, **tiny)


def test_beams_decide_the_weights_where_the_best_is_chosen_by_bleu(config: GenerateConfig) -> None:
    generate(config, best_by="bleu")
    generate(config, best_by="bleu", resume=True, decode_precision="bf16", checkpoint_every=7)  # another decoding
    with pytest.raises(ConfigError, match="made with num_beams 1, now 2; --resume needs the same settings"):
        generate(config, best_by="bleu", resume=True, num_beams=2)


def test_tokenizers_decide_the_weights_where_the_best_is_chosen_by_bleu(
    config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = config.output_dir.with_name("own.yaml")  # type: ignore[union-attr]
    file.write_text("locales: {JP: {bleu: 13a}}", encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setenv("LLMREC_LANGUAGES", str(file))
        generate(config, best_by="bleu")
    with pytest.raises(ConfigError, match="made with best_by 'bleu', now 'bleu, JP by char'; --resume needs the same"):
        generate(config, best_by="bleu", resume=True)


def test_a_finished_training_is_decoded_with_other_beams_where_its_loss_chose(config: GenerateConfig) -> None:
    generate(config)
    generate(config, resume=True, num_beams=2)
    for changes in ({"pack": True}, {"learning_rate": 0.5}, {"k": 2}):
        (name,) = changes
        with pytest.raises(ConfigError, match=f"made with {name} "):
            generate(config, resume=True, **changes)


def test_a_record_of_an_earlier_version_is_gone_on_with_where_what_it_lacks_is_switched_off(tmp_path: Path) -> None:
    (tmp_path / "finished.json").write_text('{"progress": {}, "settings": {"seed": 1, "gone": 2}}', encoding="utf-8")
    assert is_finished(tmp_path, {"seed": 1, "pack": False, "tokenizers": {}})
    lacking = "of an earlier version, which had no 'tokenizers'; start over without --resume"
    for changes, message in (({"seed": 2}, "made with seed 1, now 2"), ({"tokenizers": {"JP": "char"}}, lacking)):
        with pytest.raises(ConfigError, match=message):
            is_finished(tmp_path, {"seed": 1, **changes})


def test_titles_that_a_killed_command_wrote_are_kept_by_the_same_command(
    config: GenerateConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(config)
    folder = config.output_dir
    assert folder is not None
    writing = dataclasses.replace(config, model=str(folder / "model"), output_dir=folder.with_name("written"))

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("llmrec.titles.generation.publish", stop)
        with pytest.raises(KeyboardInterrupt):
            generate(writing)
    monkeypatch.setattr("llmrec.titles.generation.build_decoder", lambda *_: stop)
    generate(writing)
    with pytest.raises(KeyboardInterrupt):
        generate(writing, overwrite=True)
