"""Share of sessions whose target is among the first k, as a module of Hugging Face's evaluate."""

from __future__ import annotations

from llmrec.evaluation.metrics import recall_at_k
from llmrec.evaluation.modules import ranked


class Hit(ranked.RankedMetric):
    """Share of sessions whose target is among the first k, of ranked lists."""

    metric = "hit"
    summary = "Share of sessions whose target is among the first k, one target a session (Jin et al. 2023, App. A)."
    score = staticmethod(recall_at_k)
