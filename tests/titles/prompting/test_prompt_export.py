from __future__ import annotations

from pathlib import Path

import datasets
import pytest
import yaml

from llmrec.data.store import Store
from llmrec.errors import ConfigError
from llmrec.languages import known_languages
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.tokenizer import build_tokenizer
from llmrec.titles.prompting.prompt_export import export_prompt_sessions
from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions

PLAIN = load_prompt("plain_v1")


def export(store: Store, tmp_path: Path, out: Path, **settings: object) -> datasets.Dataset:
    made = build_prompt_sessions(store, "development", k=2, prompt=PLAIN, cache=tmp_path / "cache", **settings)
    export_prompt_sessions({"development": made}, out, prompt=PLAIN, k=2, fingerprint=store.fingerprint)
    return made


@pytest.mark.parametrize("other", ["notes.txt", "data/photo.png"])
def test_a_folder_with_anything_else_in_it_is_never_replaced(tiny_store: Store, tmp_path: Path, other: str) -> None:
    """A project has a README.md and a folder named data too; replacing it would delete the project."""
    out = tmp_path / "project"
    (out / "data").mkdir(parents=True)
    (out / "README.md").write_text("mine", encoding="utf-8")
    (out / other).write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="project is there and holds no exported prompt sessions"):
        export(tiny_store, tmp_path, out)
    assert (out / other).read_text(encoding="utf-8") == "mine"
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="file is there"):
        export(tiny_store, tmp_path, file)


def test_tokens_keep_their_type_on_the_way(tiny_store: Store, tmp_path: Path) -> None:
    tokenizer = build_tokenizer(["Kettle 1.7 L", "Desk Lamp, LED"] * 5, 300)
    made = export(tiny_store, tmp_path, tmp_path / "out", tokenizer=tokenizer)
    read = datasets.load_dataset(str(tmp_path / "out"), split="development", cache_dir=str(tmp_path / "hf"))
    assert read.features == made.features
    assert read.features["input_ids"].feature.dtype == read.features["labels"].feature.dtype == "int32"
    assert read.to_list() == made.to_list()


def test_the_card_describes_every_column_and_language(tiny_store: Store, tmp_path: Path) -> None:
    made = export(tiny_store, tmp_path, tmp_path / "out")
    _, header, text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    assert set(yaml.safe_load(header)["language"]) == set(known_languages())
    shown = text.replace("\\_", "_")
    assert all(f"- {column}: " in shown for column in made.column_names)


def test_a_locale_is_text_in_the_card_whatever_it_holds(tiny_store: Store, tmp_path: Path) -> None:
    made = build_prompt_sessions(tiny_store, "development", k=2, prompt=PLAIN, cache=tmp_path / "cache")
    evil = made.map(lambda row: {"locale": "[x](http://evil)\n# <script>"})
    export_prompt_sessions({"development": evil}, tmp_path / "out", prompt=PLAIN, k=2, fingerprint="f" * 64)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "](http" not in card
    assert "<script>" not in card
    assert "\n# <" not in card
