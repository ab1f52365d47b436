"""Share of sessions whose target is among the first k, as a module of Hugging Face's evaluate."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from llmrec.evaluation.metrics import ranks_of_targets, recall_at_k

_DESCRIPTION = "Share of sessions whose target is among the first k, one target a session (Jin et al. 2023, App. A)."
_INPUTS = """
Args:
    predictions: lists of at most 100 different ids, best first.
    references: the id that came next, one a session.
    k: cutoff; 100 by default.
Returns:
    hit@k, a fraction in [0, 1].
"""
_CITATION = "Jin et al. (2023). Amazon-M2: A Multilingual Multi-locale Shopping Session Dataset. arXiv:2307.09688"


class Hit(evaluate.Metric):  # type: ignore[misc]
    """Share of sessions whose target is among the first k of ranked lists."""

    def _info(self) -> Any:
        features = {
            "predictions": datasets.Sequence(datasets.Value("string")),
            "references": datasets.Value("string"),
        }
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Any, references: Any, k: int = 100) -> dict[str, float]:
        # what evaluate hands over is a lazy column
        ranks = ranks_of_targets([list(ids) for ids in predictions], list(references))
        return {f"hit@{k}": recall_at_k(ranks, k)}
