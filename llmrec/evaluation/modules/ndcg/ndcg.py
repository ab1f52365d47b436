"""Normalised discounted cumulative gain, as a module of Hugging Face's evaluate."""

from __future__ import annotations

from llmrec.evaluation.metrics import ndcg_at_k
from llmrec.evaluation.modules import ranked


class Ndcg(ranked.RankedMetric):
    """Normalised discounted cumulative gain, of ranked lists."""

    metric = "ndcg"
    summary = "Normalised discounted cumulative gain, one target a session (Jin et al. 2023, App. A)."
    score = staticmethod(ndcg_at_k)
