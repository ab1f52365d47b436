"""The fused ranker."""

from __future__ import annotations

from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from tests.rankers.contract import RankerContract


class TestFusion(RankerContract):
    ranker = Fusion
    settings = FusionSettings(rounds=20, min_leaf=5, threads=1, folds=3)
