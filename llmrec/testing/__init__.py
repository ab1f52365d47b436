"""Tests for what others add: a class to inherit, and data that it is tried on. Needs pytest.

::

    from llmrec.testing import RankerContract

    class TestMine(RankerContract):
        ranker = MyRanker
        settings = MySettings()
"""

from __future__ import annotations

from llmrec.errors import require

require("pytest", "dev").register_assert_rewrite("llmrec.testing.ranker_contract")

from llmrec.testing.ranker_contract import SESSIONS, RankerContract, products, training_sessions  # noqa: E402 - see above

__all__ = ["SESSIONS", "RankerContract", "products", "training_sessions"]
