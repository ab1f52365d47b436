"""What parses bytes gives a value or an error of ours, whatever the bytes."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.robustness.byte_readers import READERS, tried
from tests.robustness.mutate import mutated
from tests.robustness.shop import LANGUAGES, PROMPT, RECIPE

EXAMPLES = {
    "prompt": PROMPT.encode(),
    "languages": LANGUAGES.encode(),
    "recipe": RECIPE.encode(),
    "sessions": b"prev_items,locale\n\"['B01' 'B02']\",DE\n\"['B03']\",FR\n",
    "answer": "<think>a</think> **Title:** “x”".encode(),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.parametrize("name", sorted(READERS))
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=200), seed=st.integers(0, 2**32))
def test_bytes_are_read_or_refused(name: str, data: bytes, seed: int) -> None:
    tried(READERS[name], data)
    if name in EXAMPLES:
        tried(READERS[name], mutated(EXAMPLES[name], "bytes", Random(seed))[0])
