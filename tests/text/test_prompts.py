from __future__ import annotations

import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from llmrec.errors import ConfigError
from llmrec.files import sha256_of, shipped_folder
from llmrec.languages import known_languages
from llmrec.schema import LOCALES
from llmrec.text.prompts import PRODUCT_FIELDS, load_prompt, one_line, prompt_names, prompt_table

# A version that a result cites is never edited: to change a text, add a version and its line here.
HASHES = {
    "next_title/attributes_v1": "58d75b341d480a0796ecf365388ead8ea9bdbf0ee364f245000146e131db5d08",
    "next_title/chat_v1": "9e9fe94bd0b0ea94b36ca2160cd0357c8483ba0a8303af57c924825b366762cd",
    "next_title/instruct_v1": "995f846277e892c998bcf6147170ccd535a364727fe2d6582ceca949fc058d08",
    "next_title/plain_v1": "ea0a501667c4bb76e9da2d20dbc709e130fe1287810d46fa623e68f235c4ee05",
    "product_text/attributes_v1": "9411bda66e6f9772fd93b29c25a722313b8b25b0d6b143c9604c6ed88a28f158",
    "product_text/brand_v1": "eb8d02338bbfcf6f1ee821fcd5aeedf3a03df0144e1b3438b88d3ae6dcda8c98",
    "product_text/title_v1": "2c0b4d93f12e0888b601996229997a091604e88d6d1fd1f0c3a7af39fc73d4df",
    "rerank/list_v1": "1215321599f66e7fd8092bd8596c41ce068a3c834fe6c1020a128c920a5b82bb",
    "rerank/yes_v1": "ac991afa9e3901fb5f7fa843d8a9461d055ae0294b0aa3939087f6b8fce1fedb",
}

CANDIDATES = [{"label": "A", "title": "tea"}, {"label": "B", "title": "cup\npot"}]
GOOD = {"summary": "s", "variables": {"products": "p", "product.title": "t"}, "template": "{{ products | length }}"}


def written(folder: Path, **changes: object) -> str:
    file = folder / "own.yaml"
    content = {key: value for key, value in (GOOD | changes).items() if value is not None}
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return str(file)


def test_shipped_versions_are_as_published() -> None:
    folder = shipped_folder("prompts")
    assert {name: sha256_of(folder / f"{name}.yaml") for name in prompt_names()} == HASHES


def test_plain_is_the_titles_and_nothing_else() -> None:
    text = load_prompt("plain").render([{"title": "A"}, {"title": "B", "brand": "Bosch"}], "JP")
    assert text == "A || B"


def test_attributes_speak_the_language_and_leave_out_what_is_missing() -> None:
    products = [{"title": "Bohrer"}, {"title": "Säge", "brand": "Bosch", "size": "3 cm", "color": ""}]
    assert load_prompt("attributes_v1").render(products, "DE") == (
        "Ein Kunde hat nacheinander diese Produkte angesehen:\n"
        "1. Bohrer\n"
        "2. Säge (Marke: Bosch; Größe: 3 cm)\n"
        "Titel des als Nächstes angesehenen Produkts:"
    )


@pytest.mark.parametrize("name", prompt_names())
def test_every_shipped_prompt_documents_itself(name: str) -> None:
    prompt = load_prompt(name)
    assert prompt.summary
    assert set(prompt.wording) in (set(), set(known_languages()))
    documented = {key.removeprefix("words.") for key in prompt.variables if key.startswith("words.")}
    assert documented == set(prompt.wording.get("en", {}))
    shown = CANDIDATES if prompt.names_candidates else []
    texts = {prompt.render([{"title": "T", "brand": "B", "color": "C"}], locale, shown) for locale in LOCALES}
    assert len(texts) == (6 if prompt.wording else 1)


def test_candidates_are_shown_where_a_prompt_names_them_and_missed_where_there_are_none(tmp_path: Path) -> None:
    listed = load_prompt("rerank/list").render([{"title": "T"}], "UK", CANDIDATES)
    assert "[A] tea\n[B] cup pot\n" in listed
    assert load_prompt("rerank/list").messages([{"title": "T"}], "UK", (), CANDIDATES)[-1]["content"] == listed
    with pytest.raises(ConfigError, match="asks about candidates, which `llmrec rerank` alone has"):
        load_prompt("rerank/yes").render([{"title": "T"}], "UK")
    with pytest.raises(ConfigError, match="undefined variable 'candidates'; list it under 'variables'"):
        load_prompt(written(tmp_path, template="{{ candidates | length }}"))
    with pytest.raises(ConfigError, match=r"unknown variable 'candidate.labl'; did you mean 'candidate.label'"):
        load_prompt(written(tmp_path, variables=GOOD["variables"] | {"candidate.labl": "l"}))


def test_names_find_the_same_prompt_and_the_newest_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "next_title").mkdir()
    for version in (1, 2, 10):
        (tmp_path / "next_title" / f"plain_v{version}.yaml").write_text(yaml.safe_dump(GOOD), encoding="utf-8")
    monkeypatch.setattr("llmrec.text.prompts.shipped_folder", lambda name: tmp_path)
    assert prompt_names() == [f"next_title/plain_v{version}" for version in (1, 2, 10)]
    assert load_prompt("plain").name == "next_title/plain_v10"
    assert load_prompt("plain_v2").name == load_prompt("next_title/plain_v2").name == "next_title/plain_v2"


def test_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no prompt 'plian'; did you mean 'plain'"):
        load_prompt("plian")
    with pytest.raises(ConfigError, match=r"absent\.yaml: no such prompt file"):
        load_prompt("absent.yaml")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sumary": "s"}, "unknown key 'sumary'; did you mean 'summary'"),
        ({"template": None}, "'template' is missing"),
        ({"template": " "}, "'template' is empty"),
        ({"variables": {"product.titel": "t"}}, "unknown variable 'product.titel'; did you mean 'product.title'"),
        ({"variables": "title"}, "'variables' must be a mapping of keys to text; got 'title'"),
        ({"template": "{% for p in products %}"}, "the template, line 1"),
        ({"template": "{{ product }}"}, "undefined variable 'product'; did you mean 'products'"),
        ({"template": "{{ products[0].title }}"}, "the template fails: list object has no element 0"),
        ({"template": "{% for p in products %}{{ p.titel }}{% endfor %}"}, "'titel'; did you mean 'title'"),
        (
            {"template": "{% for p in products %}{{ p.brand }}{% endfor %}"},
            "list it under 'variables' as product.brand",
        ),
        ({"template": "{{ words.next }}"}, "undefined variable 'next'"),
        ({"template": "{{ 1 / 0 }}"}, "the template fails: division by zero"),
        ({"template": "{{ 'a' + 1 }}"}, "the template fails"),
        ({"template": "{{ 'abcdefgh' | truncate(1) }}"}, "the template fails"),  # an assertion of Jinja's
        ({"template": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}"}, "the template fails"),
        ({"template": "{% include '/etc/hostname' %}"}, "the template fails"),
        ({"wording": {"en": {"a": "x"}, "de": {}}}, "'a' must be worded both in 'en' and in 'de'"),
        ({"wording": {"de": {"a": "x"}}}, "'a' must be worded both in 'en' and in 'de'"),
        ({"wording": {"en": {"a": "x"}, "dee": {"a": "x"}}}, "unknown language 'dee'; did you mean 'de'"),
        ({"wording": {"en": "x"}}, "'wording' must be a mapping of keys to a mapping of keys to text; got {'en': 'x'}"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_prompt(written(tmp_path, **changes))
    assert message in str(caught.value)
    assert "own.yaml: " in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_yaml_mapping_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    for content, message in (
        (b"a: [", "not YAML"),
        (b"\xff\xfe\xfa", "not YAML"),
        (b"a: 2024-13-01", "not YAML"),
        (b"- 1", "is a mapping"),
    ):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_prompt(str(file))


@pytest.mark.parametrize(
    "template",
    [
        "{{ products.__class__.__mro__ }}",
        "{{ ''.__class__ }}",
        "{{ '{0.__class__}'.format(products) }}",
        "{{ words.__init__.__globals__ }}",
        "{{ products.append(1) }}",
        "{{ words.update({'a': 'b'}) }}",
        "{{ cycler.__init__ }}",
        "{{ range(3) }}",
    ],
)
def test_a_template_reaches_nothing_but_its_variables(tmp_path: Path, template: str) -> None:
    with pytest.raises(ConfigError):
        load_prompt(written(tmp_path, template=template))


def test_another_locale_reads_english_with_one_notice(capsys: pytest.CaptureFixture[str]) -> None:
    prompt = load_prompt("instruct")
    texts = {prompt.render([{"title": "T"}], locale) for locale in ("UK", "US", "US", "BR")}
    assert len(texts) == 1
    told = capsys.readouterr().err
    assert told.count("locale 'US'") == told.count("locale 'BR'") == 1
    assert "'UK'" not in told
    load_prompt("plain").render([{"title": "T"}], "US")
    assert capsys.readouterr().err == ""


TITLES = st.text(st.characters(codec="utf-8"), max_size=60) | st.sampled_from(
    ["{{ 7 * 7 }}", "{% raw %}", "{# x #}", "a\nb\tc", "<b>&amp;</b>", "{{ products.__class__ }}", "%s %d"]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(TITLES, max_size=5), st.sampled_from([*LOCALES, "US"]), st.sampled_from(prompt_names()))
def test_titles_are_data(titles: list[str], locale: str, name: str) -> None:
    """Whatever a title holds, it stands in the prompt as it is, but for its white space, and in order."""
    products = [dict.fromkeys(PRODUCT_FIELDS, "") | {"title": title} for title in titles]
    prompt = load_prompt(name)
    text = prompt.render(products, locale, CANDIDATES if prompt.names_candidates else [])
    place = 0
    for title in map(one_line, titles):
        found = text.find(title, place)
        assert found >= place
        place = found + len(title)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from([*"{}%#-|. ", "{{", "}}", "{%", "%}", "products", "[0]", "for", "x", "in", "1"])).map(
        "".join
    )
    | st.text(max_size=80)
)
def test_any_template_renders_or_is_a_config_error(template: str) -> None:
    """A broken template never escapes as another exception."""
    prompt = replace(load_prompt("plain"), template=template, path=Path("own.yaml"))
    with suppress(ConfigError):
        prompt.render([{"title": "T"}], "UK")


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=60)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("summary", "variables", "template", "wording"), YAML_VALUES)))
def test_any_content_loads_or_is_a_config_error(content: dict[str, object]) -> None:
    with tempfile.TemporaryDirectory() as folder, suppress(ConfigError):
        file = written(Path(folder), **content)
        assert load_prompt(file).hash == sha256_of(Path(file))


def test_table_lists_every_prompt() -> None:
    names = [str(name) for name in prompt_table().columns[0].cells]
    assert names == prompt_names()
