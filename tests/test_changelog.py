"""The changelog keeps its form: https://keepachangelog.com, with what breaks first."""

from __future__ import annotations

import re

import pytest

from tests.places import ROOT

TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
VERSIONS = re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
SECTIONS = ["Before you upgrade", "Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


@pytest.mark.parametrize(("version", "text"), VERSIONS)
def test_a_version_has_each_section_once_and_in_order(version: str, text: str) -> None:
    assert version == "Unreleased" or re.fullmatch(r"\d+\.\d+\.\d+ - \d{4}-\d\d-\d\d", version)
    found = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert found == [name for name in SECTIONS if name in found]
