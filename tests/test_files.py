from __future__ import annotations

from pathlib import Path

import pytest

from llmrec.files import sha256_of, shipped_folder


def test_sha256_of_a_known_text(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")  # the first test vector of FIPS 180-2
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["prompts", "accelerate_configs"])
def test_shipped_folders_are_found(name: str) -> None:
    assert any(shipped_folder(name).rglob("*.yaml"))
