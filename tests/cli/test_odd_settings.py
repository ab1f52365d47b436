"""Any value at any setting of any verb, ranker, encoder or selector is taken, or refused in one line."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from llmrec.cli.verbs import PANELS
from llmrec.errors import ConfigError, LlmrecError
from llmrec.files import parse_yaml
from llmrec.rankers.recipes import ranker_settings
from llmrec.rankers.registry import RANKERS, ranker_class
from llmrec.selection.settings import SelectSettings
from llmrec.settings import resolve
from llmrec.text.encoders.learning.settings import EncoderSettings
from llmrec.titles.settings import GenerateConfig

CLASSES: list[type[Any]] = [
    *(verb.job() for verbs in PANELS.values() for verb in verbs),
    *(ranker_class(name).settings_class for name in RANKERS),
    *(GenerateConfig, EncoderSettings, SelectSettings),
]
FIELDS = [(cls, field) for cls in CLASSES for field in dataclasses.fields(cls)]
ODD = """
-1|0|1|-2|0.5|1.5|1e308|-1e308|.inf|-.inf|.nan|1e-320|1e400|99999999999999999999|-99999999999999999999|1000000000000
2147483648|9223372036854775808|true|null|''|abc|'1'|'1e3'|[1]|[[1]]|[null]|[]|['a']|[.inf]|[.nan]|[1e308]|[1, [2]]|{}
{a: b}|{1: 2}|2001-01-01|2001-13-45|1:30|1_000|!!set {a}|!!binary aGk=|&a [*a]|"\\0"|"\\e[31m"|١|-0.0|[{a: [1]}]|['', 1]
"""
VALUES = [text for line in ODD.split("\n") for text in line.split("|") if text]


@given(st.sampled_from(FIELDS), st.sampled_from(VALUES), st.booleans())
@examples(max_examples=1500, deadline=None)
def test_an_odd_value_is_taken_or_refused_in_one_line(place: tuple[type[Any], Any], text: str, plain: bool) -> None:
    cls, field = place
    hints = typing.get_type_hints(cls)
    required = {
        one.name: ["x"] if typing.get_origin(hints[one.name]) is Sequence else "x"
        for one in dataclasses.fields(cls)
        if one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
    }
    told = ""
    try:
        value = text if plain else parse_yaml(text, "--set")
        resolve(cls, {**required, field.name: required.get(field.name) if value is None else value})
    except LlmrecError as error:
        told = str(error)
    assert "\n" not in told
    assert len(told) < 400


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("forward", "[.inf]", "--forward must be at most 10,000; got inf"),
        ("forward", "[.nan]", "--forward must be "),
        ("forward", "[[1]]", r"--forward must be a number; got \[1\]"),
        ("forward", "[null]", "--forward must be a number; got None"),
        ("labelled_weight", ".inf", "--labelled-weight must be at most 10,000; got inf"),
        ("recency", "[1]", r"--recency must be a number; got \[1\]"),
        ("recency", "{a: b}", "--recency must be a number; got {'a': 'b'}"),
        ("recency", "1e308", "--recency must be at most 2"),
        ("recency", "1e-320", "--recency must be above 0"),
        ("locale_weight", "1e308", "--locale-weight must be at most 10,000"),
        ("neighbours", "1000000000000", "--neighbours must be at most 2,147,483,647"),
        ("hop_items", "99999999999999999999", "--hop-items must be "),
        ("history", "2001-13-45", "--set: '2001-13-45' is not a value"),
    ],
)
def test_numbers_have_bounds(name: str, text: str, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        ranker_settings("covisit", None, {name: text})
