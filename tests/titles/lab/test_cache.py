from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from llmrec.errors import DataError
from llmrec.titles.lab.answers import Answer
from llmrec.titles.lab.cache import open_cache

KEYS = {"a" * 64: Answer("Kettle\n1.7 L ü", 10, None, 0.5), "b" * 64: Answer("Mouse", 11, 3, 0.25)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with open_cache(tmp_path / "answers.sqlite") as cache:
        cache.add(KEYS)
    return tmp_path / "answers.sqlite"


def change(file: Path, statement: str) -> None:
    connection = sqlite3.connect(file)
    with connection:
        connection.execute(statement)
    connection.close()


def test_answers_are_kept_and_those_of_before_are_read(file: Path) -> None:
    before = '{"text": "Cable", "prompt_tokens": null, "completion_tokens": 4, "seconds": 1.5}'
    change(file, f"INSERT INTO answers VALUES ('{'c' * 64}', '{before}')")
    with open_cache(file) as cache:
        assert cache.read([*KEYS, "c" * 64, "d" * 64]) == {**KEYS, "c" * 64: Answer("Cable", None, 4, 1.5)}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE answers SET answer = replace(answer, 'Mouse', 'House')",
        "UPDATE answers SET answer = replace(answer, '0.25', '0.5')",
        "UPDATE answers SET answer = '{\"text\": 7}'",
        "UPDATE answers SET answer = x'ff'",
        "UPDATE answers SET answer = CAST(x'22ff22' AS TEXT)",
        f"UPDATE answers SET answer = (SELECT answer FROM answers WHERE key = '{'b' * 64}')",
        "UPDATE answers SET answer = 7",
    ],
)
def test_an_answer_that_was_changed_or_is_anothers_is_one_line(file: Path, statement: str) -> None:
    change(file, statement)
    with open_cache(file) as cache, pytest.raises(DataError, match="delete it or name another with --cache") as caught:
        cache.read(KEYS)
    assert "\n" not in str(caught.value)
