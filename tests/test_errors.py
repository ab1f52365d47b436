from __future__ import annotations

import os

import pytest

import llmrec.errors as errors
from llmrec.errors import (
    DataError,
    LlmrecError,
    MissingExtraError,
    nearest,
    require,
    secrets_of,
    shown,
    without_secret_arguments,
    without_secrets,
)


def test_the_tree_in_the_docstring_is_the_tree_in_the_code() -> None:
    classes = {name for name in errors.__all__ if name.endswith("Error")}
    assert all(f"`{name}`" in (errors.__doc__ or "") for name in classes)
    assert all(issubclass(getattr(errors, name), LlmrecError) for name in classes)


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'llmrec\[generate\]'"):
        require("no_such_package", "generate")


def test_nearest_names_the_closest_or_all() -> None:
    assert nearest("epoch", ["epochs", "k"]) == "; did you mean 'epochs'?"
    assert nearest("zzz", ["epochs", "k"]) == "; known: epochs, k"


KEY = "3f8a9c7b2d1e4f60a1b2c3d4"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("https://me:p@ss@host/v1", "https://host/v1"),
        ("https://me:pa/ss@host/v1", "https://host/v1"),
        ("'https://me:pa\"ss@host/v1'", "'https://host/v1'"),
        (f"as a path: http:/me:secret@host/{KEY}/x", "as a path: http:/host/***/x"),
        ("http forgotten: me:secret@host:80", "http forgotten: host:80"),
        ("openai:bge-m3@https://me:secret@host/v1", "openai:bge-m3@https://host/v1"),
        ("s3://me:secret@bucket/x.parquet", "s3://bucket/x.parquet"),
        ("https://host/x?key=1#access_token=2", "https://host/x?***#***"),
        (f"https://host/{KEY}/v1", "https://host/***/v1"),
        ("https://host/aB3-xY9_zQ1-kL5mN7pR2", "https://host/***"),
        ("https://host/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f/v1", "https://host/***/v1"),
        ("https://host/token/short1/v1", "https://host/token/***/v1"),
        (f"Max retries exceeded with url: /bot{KEY}/x?a=b (Caused by X)", "Max retries exceeded with url: /***/x?*** "),
        ("{'api_key': 'hunter22'}", "{'api_key': '***'}"),
        ("Authorization: Bearer hunter22, next", "Authorization: ***, next"),
        ("Incorrect API key provided: sk-abcdefgh12345678ijkl.", "Incorrect API key provided: ***."),
        (f"hf_abcdefghijklmnopqrst AKIAIOSFODNN7EXAMPLE {JWT}", "*** *** ***"),
        ("a header 'Basic bWU6aHVudGVyMjI='", "a header 'Basic ***'"),
        ("the environment's swordfish", "the environment's ***"),
    ],
)
def test_what_logs_in_is_taken_out_of_every_error(text: str, kept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_TOKEN", "swordfish")
    assert without_secrets(text).startswith(kept)
    assert str(LlmrecError(text)).startswith(kept)


@pytest.mark.parametrize(
    "text",
    [
        "http://localhost:8000/v1, http://[::1]:8000/v1, http://host/v1/models@main",
        "https://github.com/x/y/tree/main/Qwen2.5-0.5B-Instruct-GGUF",
        "https://huggingface.co/sentence-transformers/distiluse-base-multilingual-cased-v2",
        "https://host/sessions_test_task1_phase1.csv, https://docs/page#section",
        "--encoder openai:e5-small@http://localhost:8000/v1",
        f"in {os.environ.get('PWD')}",
        f"a digest: {KEY}{KEY}; at 12:30:11 me@home had 96 tokens, max_tokens=96, tokenizer: char",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert without_secrets(text) == text


def test_a_command_line_loses_what_follows_the_flag_of_a_key() -> None:
    words = ["x", "--api-key", "a", "--hf_token=b", "--max-tokens", "96", "--set", "password=c", "https://u:p@h"]
    kept = ["x", "--api-key", "***", "--hf_token=***", "--max-tokens", "96", "--set", "password=***", "https://h"]
    assert without_secret_arguments(words) == kept


def test_a_value_that_is_cut_has_lost_its_secret_before() -> None:
    assert shown(f"http://me:{'hunter' * 20}@host/x") == "'http://host/x'"
    assert shown("x" * 100) == f"'{'x' * 79}…"


def test_the_secrets_of_a_url_are_known_wherever_they_come_back() -> None:
    found = secrets_of(f"https://me:pass%2Dword@host/{KEY}/v1?name=hunter22")
    assert {"pass%2Dword", "pass-word", KEY, "hunter22"} <= set(found)
    assert without_secrets(f"not {KEY}, not pass-word", found) == "not ***, not ***"


@pytest.mark.parametrize("value", ["x" * 5_000, "word " * 2_000, "語" * 900])
def test_an_error_stays_short_whatever_the_file_holds(value: str) -> None:
    text = str(DataError(f"runs/a.parquet, row 7: locale '{value}' is unknown; give another one"))
    assert len(text) <= 1_400
    assert text.startswith("runs/a.parquet, row 7: locale '")
    assert text.endswith("is unknown; give another one")
    assert str(DataError("x" * 300)) == "x" * 300
