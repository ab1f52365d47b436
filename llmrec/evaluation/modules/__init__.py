"""The metrics as modules of Hugging Face's ``evaluate``, each a folder that it loads by path, without the hub.

::

    import evaluate
    from llmrec.evaluation.modules import metric_path

    mrr = evaluate.load(metric_path("mrr"))
    mrr.compute(predictions=[["B0A", "B0B"]], references=["B0B"], k=100)  # {"mrr@100": 0.5}
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from llmrec.errors import ConfigError, nearest

__all__ = ["METRICS", "metric_path"]

METRICS: Final = ("mrr", "hit", "ndcg", "title_bleu")


def metric_path(name: str) -> str:
    """Folder of a metric, for ``evaluate.load``.

    Raises:
        ConfigError: there is no such metric.
    """
    if name not in METRICS:
        raise ConfigError(f"no metric '{name}'{nearest(name, METRICS)}")
    return str(Path(__file__).resolve().parent / name)
