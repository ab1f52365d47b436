"""Languages are data: what the shipped file says, what a user's own adds, and what is wrong with one in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.errors import ConfigError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import sha256_of
from llmrec.languages import (
    VARIABLE,
    bleu_tokenizer,
    known_languages,
    language_of,
    languages_record,
    locale_of,
    locales,
)
from llmrec.schema import LOCALES
from llmrec.text.prompts import load_prompt

OWN = """
locales:
  CN: {language: zh, bleu: zh, words: characters}
  NL: {language: nl, wording: de}
  UK: {bleu: intl}
phrases:
  next_title/instruct_v1:
    zh: {viewed: "顾客依次浏览了这些商品:", next: "下一个商品的标题:"}
"""
PRODUCTS = [{"title": "A"}]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "languages.yaml"
    file.write_text(OWN, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    return file


def test_the_papers_locales_are_all_there_and_only_japanese_has_a_tokenizer_of_its_own() -> None:
    assert set(LOCALES) <= set(locales())
    assert known_languages() == ("en", "de", "ja", "es", "fr", "it")
    assert {name: bleu_tokenizer(name) for name in LOCALES if bleu_tokenizer(name) != "13a"} == {"JP": "char"}


def test_a_locale_that_no_file_names_is_english() -> None:
    assert "BR" not in locales()
    assert (language_of("BR"), bleu_tokenizer("BR")) == ("en", "13a")


@pytest.mark.usefixtures("own")
def test_a_file_of_ones_own_adds_locales_and_changes_keys_alone() -> None:
    assert locale_of("CN").language == "zh"
    assert (bleu_tokenizer("CN"), locale_of("CN").words) == ("zh", "characters")
    assert (language_of("UK"), bleu_tokenizer("UK")) == ("en", "intl"), "what it does not name stays"
    assert bleu_tokenizer("JP") == "char"
    assert [locale_of(name).words for name in ("JP", "NL")] == ["characters", "spaces"]
    assert list(locales())[-2:] == ["CN", "NL"]


@pytest.mark.usefixtures("own")
def test_prompts_speak_the_added_language_or_its_fallback(capfd: pytest.CaptureFixture[str]) -> None:
    prompt = load_prompt("instruct_v1")
    assert prompt.render(PRODUCTS, "CN") == "顾客依次浏览了这些商品:\n1. A\n下一个商品的标题:"
    assert prompt.render(PRODUCTS, "NL") == prompt.render(PRODUCTS, "DE")
    assert "no wording for locale 'NL'; it speaks 'de' there" in capfd.readouterr().err


def test_a_locale_of_another_language_leaves_the_shipped_prompts_as_they_are(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.with_name("swiss.yaml").write_text("locales: {DE: {language: gsw, wording: de}}", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(own.with_name("swiss.yaml")))
    assert "de" in known_languages()
    assert load_prompt("instruct_v1").render(PRODUCTS, "DE").startswith("Ein Kunde")


def test_a_prompt_that_speaks_otherwise_is_another_one(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is trained or cached with a prompt is found by its hash."""
    changed, plain = load_prompt("instruct_v1").hash, load_prompt("plain_v1").hash
    own.with_name("bleu.yaml").write_text("locales: {UK: {bleu: intl}, BR: {bleu: none}}", encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(own.with_name("bleu.yaml")))
    shipped = load_prompt("instruct_v1").hash
    assert shipped == sha256_of(load_prompt("instruct_v1").path) != changed
    assert load_prompt("plain_v1").hash == plain, "it has no words of its own"


def test_provenance_names_the_file(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert collect_provenance(None, None, None, 0.0)["languages"] == {"file": own.name, "sha256": sha256_of(own)}
    monkeypatch.delenv(VARIABLE)
    assert "languages" not in collect_provenance(None, None, None, 0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("locales: {CN: {bleu: zhh}}", "locale 'CN': 'bleu' must be one of 13a, char, intl, none, zh; got 'zhh'"),
        ("locales: {CN: {words: none}}", "locale 'CN': 'words' must be one of spaces, characters; got 'none'"),
        ("locales: {CN: {blue: zh}}", "locale 'CN': unknown key 'blue'; did you mean 'bleu'?"),
        ("locales: {CN: zh}", "locale 'CN' must be a mapping such as {language: nl}; got 'zh'"),
        ("locales: {CN: {language: '\" onload='}}", "'language' must be a language code"),
        ("locales: {DK: {language: no}}", "'language' must be a language code such as nl or \"no\"; got False"),
        ("locales: {NO: {language: nb}}", 'locale False is no text; write it in quotes, as "NO"'),
        ("locales: [CN]", "'locales' must map each locale to its settings"),
        ("local: {}", "unknown key 'local'; did you mean 'locales'?"),
        ("phrases: [a]", "'phrases' must map prompts to languages"),
        ("phrases: {next_title/instruct_v9: {}}", "unknown prompt 'next_title/instruct_v9'; did you mean"),
        (
            "phrases: {next_title/instruct_v1: [de]}",
            "prompt next_title/instruct_v1: 'wording' must be a mapping of keys to a mapping of keys to text",
        ),
        ("phrases: {next_title/instruct_v1: {de: {next: N}}}", "'viewed' must be worded both in 'en' and in 'de'"),
        ("phrases: {next_title/instruct_v1: {nl: {next: N}}}", "unknown language 'nl'"),
        ("- CN", "a language file is a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str
) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text, encoding="utf-8")
    monkeypatch.setenv(VARIABLE, str(file))
    with pytest.raises(ConfigError) as caught:
        load_prompt("instruct_v1").render(PRODUCTS, "CN")
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_missing_file_says_who_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "absent.yaml"))
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read \(No such file.*\); mend LLMREC_LANGUAGES"):
        language_of("UK")


def test_a_file_that_is_not_there_is_one_line_for_the_record_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/nowhere.yaml")
    with pytest.raises(ConfigError, match=rf"/nowhere\.yaml: cannot be read .*mend {VARIABLE}, or unset it"):
        languages_record()
