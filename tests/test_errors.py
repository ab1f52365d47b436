from __future__ import annotations

import pytest

import llmrec.errors as errors
from llmrec.errors import LlmrecError, MissingExtraError, nearest, require


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
