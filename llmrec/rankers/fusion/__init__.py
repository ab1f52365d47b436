"""The fused ranker: candidates of many rankers, features of session, item and pair, gradient-boosted trees."""

from __future__ import annotations

from llmrec.rankers.fusion.settings import FusionSettings

__all__ = ["FusionSettings"]
