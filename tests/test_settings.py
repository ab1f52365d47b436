from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from llmrec.errors import ConfigError
from llmrec.rankers import ranker_class
from llmrec.selection.settings import SelectSettings
from llmrec.settings import RECIPES, load_recipe, option, recipe_names, resolve
from llmrec.text.encoders.learning.settings import EncoderSettings
from llmrec.titles.settings import GenerateConfig


def test_flags_win_over_the_recipe_and_the_recipe_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("settings: {k: 2, epochs: 3}\n", encoding="utf-8")
    config = resolve(GenerateConfig, {"k": 5, "seed": None}, load_recipe(str(file)))
    assert (config.k, config.epochs, config.seed) == (5, 3.0, 0)


def test_exponents_without_a_dot_are_numbers(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("settings: {learning_rate: 2e-5}\n", encoding="utf-8")  # a string in YAML 1.1
    assert resolve(GenerateConfig, {}, load_recipe(str(file))).learning_rate == 2e-5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("{max_source_token: 3}", "unknown key 'max_source_token'; did you mean 'max_source_tokens'?"),
        ("{k: 0}", "'k' must be at least 1; got 0"),
        ("{k: two}", "'k' must be a whole number; got 'two'"),
        ("{k: true}", "'k' must be a whole number; got True"),
        ("{schedule: step}", "'schedule' must be one of linear, cosine, constant; got 'step'"),
        ("{learning_rate: 0}", "'learning_rate' must be above 0; got 0"),
        ("{learning_rate: .nan}", "'learning_rate' must be a number; got nan"),
        ("{report: 1}", "'report' must be true or false; got 1"),
    ],
)
def test_wrong_settings_are_one_clear_line(tmp_path: Path, settings: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"settings: {settings}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml") as caught:
        resolve(GenerateConfig, {}, load_recipe(str(file)))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_recipe_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no recipe 'dmo'; did you mean 'demo'"):
        load_recipe("dmo")


@pytest.mark.parametrize(
    "text",
    ["- a\n", "settings: 3\n", "settings: {k: 1}\nsetting: 1\n", "settings: {}\nfinetune: 1\n", "a: [\n", "\x00"],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_recipe(str(file))


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves_and_cites_only_its_own_settings(name: str) -> None:
    recipe = load_recipe(name)
    settings_class = ranker_class(recipe.ranker).settings_class if recipe.ranker else GenerateConfig
    settings_class = EncoderSettings if recipe.encoder else settings_class
    settings_class = SelectSettings if recipe.select else settings_class
    resolve(settings_class, {}, recipe)
    resolve(settings_class, recipe.finetune)
    assert recipe.summary
    assert set(recipe.paper) <= set(recipe.settings)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    weights: tuple[float, ...] = option((1.0,), "Some weights.", minimum=0)


def test_a_list_is_read_as_numbers() -> None:
    assert resolve(Weights, {"weights": [1, "1e-1"]}) == Weights(weights=(1.0, 0.1))


@pytest.mark.parametrize(
    ("value", "message"),
    [(3, "must be a list; got 3"), (["x"], "must be a number; got 'x'"), ([1, -2], "must be at least 0; got -2")],
)
def test_a_wrong_list_is_one_line(value: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^--weights {message}$"):
        resolve(Weights, {"weights": value})


def test_every_setting_has_a_help_text() -> None:
    assert all(field.metadata["help"] for field in dataclasses.fields(GenerateConfig))
    assert RECIPES.is_dir()
