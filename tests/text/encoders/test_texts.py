"""What an encoder reads of a product."""

from __future__ import annotations

import pyarrow as pa
import pytest

from llmrec.errors import ConfigError
from llmrec.text.encoders.texts import load_template, render_texts, template_columns


def table(**columns: list[str | None]) -> pa.Table:
    return pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})


def test_a_title_is_text_whatever_stands_in_it() -> None:
    titles = ["{{ 7 * 7 }} Mouse {% raw %}", "<b>Lamp</b> & more", "Hose\t50 \n ft", "NA", "", None, "   "]
    count = len(titles)
    products = table(locale=["US"] * count, id=["X"] * count, title=titles)
    assert render_texts(load_template("title"), products) == [
        "{{ 7 * 7 }} Mouse {% raw %}",
        "<b>Lamp</b> & more",
        "Hose 50 ft",
        "NA",
        "",
        "",
        "",
    ]


def test_attributes_speak_the_locales_language_and_a_missing_one_leaves_no_trace() -> None:
    products = table(
        locale=["DE", "JP", "US", "FR", "UK"],
        id=["1", "2", "3", "4", "5"],
        title=["Kabel", "ケーブル", "Cable", "", ""],
        brand=["Acme", None, None, None, None],
        color=[None, "白", None, "rouge", None],
        size=["2 m", None, None, "2 m", None],
        model=[None] * 5,
        material=[""] * 5,
        author=[None] * 5,
    )
    assert render_texts(load_template("attributes_v1"), products) == [
        "Kabel; Marke: Acme; Größe: 2 m",
        "ケーブル; 色: 白",
        "Cable",
        "couleur: rouge; taille: 2 m",
        "",
    ]


def test_brand_stands_behind_the_title() -> None:
    products = table(locale=["UK", "UK"], id=["1", "2"], title=["Cable", "Cable"], brand=["Acme", None])
    assert render_texts(load_template("brand"), products) == ["Cable Acme", "Cable"]


def test_a_template_names_the_columns_it_needs() -> None:
    assert template_columns(load_template("title")) == ("locale", "id", "title")
    assert "brand" in template_columns(load_template("attributes"))


def test_an_unknown_template_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="--template titel: no such template; did you mean 'title_v1'"):
        load_template("titel")
