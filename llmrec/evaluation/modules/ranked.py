"""What the modules for Hugging Face's evaluate that score ranked lists have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import datasets
import evaluate

from llmrec.evaluation.metrics import ranks_of_targets

__all__ = ["RankedMetric"]

_INPUTS = """
Args:
    predictions: lists of at most 100 different ids, best first.
    references: the id that came next, one a session.
    k: cutoff; 100 by default.
Returns:
    {name}@k, a fraction in [0, 1].
"""
_CITATION = "Jin et al. (2023). Amazon-M2: A Multilingual Multi-locale Shopping Session Dataset. arXiv:2307.09688"


class RankedMetric(evaluate.Metric):  # type: ignore[misc]
    """A metric of ranked lists with one target a session.

    ``evaluate`` takes the first class that it finds in a script, so scripts import this module and not this class.
    """

    metric: str
    summary: str
    score: Callable[..., float]

    def _info(self) -> Any:
        features = {
            "predictions": datasets.Sequence(datasets.Value("string")),
            "references": datasets.Value("string"),
        }
        return evaluate.MetricInfo(
            description=self.summary,
            citation=_CITATION,
            inputs_description=_INPUTS.format(name=self.metric),
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Any, references: Any, k: int = 100) -> dict[str, float]:
        # what evaluate hands over is a lazy column
        ranks = ranks_of_targets([list(ids) for ids in predictions], list(references))
        return {f"{self.metric}@{k}": self.score(ranks, k)}
