from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from llmrec.console import notice_once
from llmrec.errors import ConfigError
from llmrec.rankers import RANKERS, ranker_class
from llmrec.rankers.counting.covisit import CovisitSettings
from llmrec.rankers.neural.settings import NeuralSettings
from llmrec.rankers.vectors.item_vectors import ItemVectorsSettings
from llmrec.rankers.vectors.text_knn import TextKnnSettings
from llmrec.selection.settings import SelectSettings
from llmrec.settings import Recipe, decided_by, deciding, load_recipe, option, recipe_names, resolve
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
        ("{learning_rate: .nan}", "'learning_rate' must be above 0; got nan"),
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
    [
        "- a\n",
        "settings: 3\n",
        "settings: {k: 1}\nsetting: 1\n",
        "settings: {}\nfinetune: 1\n",
        "kind: rankr\nsettings: {}\n",
        "kind: ranker\nsettings: {}\n",
        "kind: titles\nranker: covisit\nsettings: {}\n",
        "kind: encoder\nencoder: true\nsettings: {}\n",
        "kind: titles\nname: mine\nsettings: {}\n",
        "a: [\n",
        "kind: titles\nsettings: {k: 2024-13-01}\n",
        "\x00",
    ],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine\.yaml"):
        load_recipe(str(file))


CLASSES = sorted(
    {
        GenerateConfig,
        EncoderSettings,
        SelectSettings,
        *(ranker_class(name).settings_class for name in RANKERS),
    },
    key=lambda cls: cls.__name__,
)


def settings_of(recipe: Recipe) -> type[Any]:
    classes = {"titles": GenerateConfig, "encoder": EncoderSettings, "select": SelectSettings}
    return ranker_class(recipe.ranker).settings_class if recipe.ranker else classes[recipe.kind]


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_resolves_and_cites_only_its_own_settings(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(name)
    resolve(settings_of(recipe), {}, recipe)
    resolve(settings_of(recipe), recipe.finetune)
    assert recipe.summary
    assert set(recipe.paper) <= set(recipe.settings)
    assert not capsys.readouterr().err, "a shipped recipe has no old key"


@pytest.mark.parametrize(
    ("old", "kind", "notice"),
    [
        ("ranker: covisit", "ranker", "write 'kind: ranker'; "),
        ("encoder: true", "encoder", "write 'kind: encoder' in place of 'encoder: true'; "),
        ("select: true", "select", "write 'kind: select' in place of 'select: true'; "),
        ("summary: none", "titles", "write 'kind: titles'; "),
    ],
)
def test_a_recipe_from_before_kinds_is_read_and_told_what_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], old: str, kind: str, notice: str
) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(f"{old}\nsettings: {{}}\n", encoding="utf-8")
    assert load_recipe(str(file)).kind == load_recipe(str(file)).kind == kind
    assert capsys.readouterr().err.count(notice) == 1, "once, however often it is read"


@pytest.mark.parametrize("name", ["demo", "covisit", "encoder_static", "select"])
def test_a_recipe_for_another_verb_is_one_line_that_names_both(name: str) -> None:
    recipe = load_recipe(name)
    for cls in {GenerateConfig, EncoderSettings, SelectSettings, CovisitSettings} - {settings_of(recipe)}:
        wanted = getattr(cls, "RECIPE_KIND", "ranker")
        with pytest.raises(ConfigError, match=f"{name}.yaml: a recipe of kind '{recipe.kind}', for .*'{wanted}'$"):
            resolve(cls, {}, recipe)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weights:
    weights: tuple[float, ...] = option((1.0,), "Some weights.", minimum=0)


def test_a_list_is_read_as_numbers() -> None:
    assert resolve(Weights, {"weights": [1, "1e-1"]}) == Weights(weights=(1.0, 0.1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (3, "must be a list; got 3"),
        (["x"], "must be a number; got 'x'"),
        ([1, -2], "must be at least 0; got -2"),
    ],
)
def test_a_wrong_list_is_one_line(value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(Weights, {"weights": value})
    assert str(caught.value) == f"--weights {message}"


@pytest.mark.parametrize(
    ("cls", "old", "new"),
    [
        (ItemVectorsSettings, {"decay": 0.3}, {"pair_decay": 0.3, "recency": 0.6}),
        (TextKnnSettings, {"decay": 0.3, "last": 4}, {"recency": 0.3, "history": 4}),
        (EncoderSettings, {"decay": 0.3}, {"pair_decay": 0.3, "recency": 0.3}),
        (
            NeuralSettings,
            {"max_length": 4, "svd_window": 3, "svd_decay": 0.2},
            {"history": 4, "window": 3, "pair_decay": 0.2},
        ),
    ],
)
def test_old_names_mean_what_they_meant(
    cls: type[Any], old: dict[str, Any], new: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = getattr(cls, "RECIPE_KIND", "ranker")
    file = tmp_path / "mine.yaml"
    settings = resolve(cls, {}, Recipe(name="mine", path=file, kind=kind, settings=old))
    assert {name: getattr(settings, name) for name in new} == new
    assert settings == resolve(cls, old), "flags and saved models too"
    notices = capsys.readouterr().err
    notice_once.cache_clear()
    assert resolve(cls, old, origin=tmp_path) == settings
    assert capsys.readouterr().err.count("settings of before") == 1, "of a saved thing one notice for all"
    for name in old:
        assert f"{file}: '{name}' has a new name: " in notices
        (current, *_) = [field.name for field in dataclasses.fields(cls) if name in field.metadata["formerly"]]
        for both in ({name: old[name], current: old[name]}, {current: old[name], name: old[name]}):
            with pytest.raises(ConfigError, match=f"the old name of '{current}', which is given too; leave it out"):
                resolve(cls, both)


def test_a_setting_that_is_gone_is_left_out_with_a_notice(capsys: pytest.CaptureFixture[str]) -> None:
    assert resolve(NeuralSettings, {"negative_power": 0.5, "history": 4}) == NeuralSettings(history=4)
    assert "--negative-power is no setting any more; leave it out" in capsys.readouterr().err


@pytest.mark.parametrize("cls", CLASSES)
def test_one_word_for_each_idea(cls: type[Any]) -> None:
    names = {field.name for field in dataclasses.fields(cls)}
    former = {old for field in dataclasses.fields(cls) for old in field.metadata["formerly"]}
    assert not names & {"decay", "last", "max_length", "max_items", "svd_window", "svd_decay", "distance"}
    assert not names & former, "an old name must not mean something else now"


@pytest.mark.parametrize("cls", CLASSES)
def test_every_setting_has_a_help_text_and_says_what_it_decides(cls: type[Any]) -> None:
    fields = dataclasses.fields(cls)
    assert all(field.metadata["help"] for field in fields)
    declared = {field.name: field.metadata["decides"] for field in fields}
    undeclared = [name for name, what in declared.items() if what == "undeclared" and not hasattr(cls, "DECIDES")]
    assert not undeclared, "say decides=…, None where it changes nothing that is kept, or DECIDES for the class"


def test_what_decides_is_compared_as_json_gives_it_back() -> None:
    assert deciding(Weights(weights=(1.0, 2.0)), "weights") == {"weights": [1.0, 2.0]}, "undeclared: it may decide"
    settings = deciding(GenerateConfig(checkpoint_every=7, num_beams=3), "weights")
    assert {"pack", "seed", "best_by"} <= settings.keys()
    assert not {"checkpoint_every", "num_beams", "resume", "output_dir"} & settings.keys()
    assert deciding(GenerateConfig(num_beams=3), "titles", "validation")["num_beams"] == 3
    assert decided_by(EncoderSettings, "titles") == ()
