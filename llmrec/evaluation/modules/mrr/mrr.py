"""Mean reciprocal rank, as a module of Hugging Face's evaluate."""

from __future__ import annotations

from llmrec.evaluation.metrics import mrr_at_k
from llmrec.evaluation.modules import ranked


class Mrr(ranked.RankedMetric):
    """Mean reciprocal rank, of ranked lists."""

    metric = "mrr"
    summary = "Mean reciprocal rank with one target a session, as the paper reports it (Jin et al. 2023, App. A)."
    score = staticmethod(mrr_at_k)
