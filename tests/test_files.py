from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path

import pytest

from llmrec import files
from llmrec.errors import ConfigError
from llmrec.files import YAML_BYTES, known_sha256, once, parse_yaml, read_yaml, sha256_of, shipped_folder, uri_of


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")  # the first test vector of FIPS 180-2
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["prompts", "accelerate_configs"])
def test_shipped_folders_are_found(name: str) -> None:
    assert any(shipped_folder(name).rglob("*.yaml"))


def test_what_a_file_holds_is_asked_once_until_something_touches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file, asked = tmp_path / "large.npy", []

    def read() -> str:
        asked.append(1)
        return file.read_text()

    def touched(content: str) -> None:
        file.write_text(content)
        monkeypatch.setattr(files.time, "time_ns", lambda: file.stat().st_ctime_ns + 10**10)

    touched("one")
    assert [once(file, "content", read), once(file, "content", read), len(asked)] == ["one", "one", 1]
    moved = file.rename(tmp_path / "elsewhere.npy").rename(file)  # whose entry the rename has touched
    assert (once(moved, "content", read), len(asked)) == ("one", 2)
    touched("two")
    assert (once(file, "content", read), once(file, "other", read), len(asked)) == ("two", "two", 4)
    kept = list((tmp_path / "cache" / "llmrec" / "seen").iterdir())
    assert kept
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}
    for path in kept:
        path.write_text("half a wo")  # a write that was killed
    assert (once(file, "content", read), len(asked)) == ("two", 5)


def test_a_file_that_was_just_written_and_a_cache_that_others_can_write_are_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    file = tmp_path / "x"
    file.write_text("one")
    known_sha256(file)
    folder = tmp_path / "llmrec" / "seen"
    assert list(folder.iterdir()) == []
    monkeypatch.setattr(files.time, "time_ns", lambda: file.stat().st_ctime_ns + 10**10)
    folder.chmod(0o777)
    assert known_sha256(file) == sha256_of(file)
    assert list(folder.iterdir()) == []
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    assert known_sha256(file) == sha256_of(file)


NINE = {letter: f"[{', '.join([f'*{letter}'] * 9)}]" for letter in "abcdefgh"}
BOMB = "a: &a [x]\n" + "".join(f"{b}: &{b} {NINE[a]}\n" for a, b in pairwise(NINE))
MERGES = "a: &a {x: 1}\n" + "".join(f"{b}: &{b} {{<<: {NINE[a]}}}\n" for a, b in pairwise(NINE))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "aliases repeat too much"),
        (MERGES, "too much is merged|aliases"),
        ("&a [*a]", "holds itself"),
        ("a: 1\nb: 2\na: 3\n", "'a' is given twice"),
        ("[" * 100_000, "nested too deep"),
        ("{a: " * 5_000, "nested too deep"),
        ("!!python/object/apply:os.system [x]", "could not determine a constructor"),
        ("!!set {a}", "a set, which no setting is"),
        ("!!binary aGk=", "a bytes, which no setting is"),
        ("!!int ''", "not YAML"),
        ("!!timestamp x", "not YAML"),
        ("2001-13-45", "month must be in 1..12"),
        ("9" * 5_000, "not YAML"),
        ("a: \x00", "not YAML"),
        ("*nothing", "undefined alias"),
    ],
)
def test_yaml_that_attacks_is_one_line(text: str, reason: str) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=reason) as caught:
        parse_yaml(text, "r.yaml")
    assert str(caught.value).startswith("r.yaml: not YAML: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    assert time.monotonic() - started < 10


def test_plain_yaml_with_anchors_and_merges_is_read() -> None:
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: *a\n"
    assert parse_yaml(text, "r.yaml") == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


def test_a_yaml_file_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"#" * (YAML_BYTES + 1))
    (tmp_path / "latin").write_bytes(b"a: \xe4")
    (tmp_path / "bom").write_bytes(b"\xef\xbb\xbfa: 1")
    for path, reason in (
        (tmp_path / "large", "larger than 1024 KiB"),
        (tmp_path / "latin", "not YAML: 'utf-8' codec"),
        (tmp_path, "not a file"),
        (Path("/dev/zero"), "not a file"),
        (tmp_path / "nothing", "cannot be read"),
    ):
        with pytest.raises(ConfigError, match=reason):
            read_yaml(path)
    assert read_yaml(tmp_path / "bom") == {"a": 1}


@pytest.mark.parametrize(
    ("given", "uri"),
    [
        ("s3a://shop/sessions/0.parquet", "s3a://shop/sessions/0.parquet"),
        ("hdfs://nn:8020/x", "hdfs://nn:8020/x"),
        ("file:///shared/x", "file:///shared/x"),
        ("/shared/x", None),
        ("runs/a:b/x", None),
        ("c:/x", None),
    ],
)
def test_a_uri_survives_being_a_path(given: str, uri: str | None) -> None:
    assert uri_of(Path(given)) == uri_of(given) == uri
