"""The verbs of ``llmrec``: what is typed, what it does, and where its dataclass and its function are."""

from __future__ import annotations

from typing import Final

from llmrec.cli.flags import Verb

__all__ = ["PANELS"]

PANELS: Final = {
    "The next product": (
        Verb("blend", "Blend runs of the same sessions by their ranks.", "cli.ranking:BlendJob:blend"),
        Verb(
            "explain",
            "Say why products are where they are: their ranks at the sources, and what each feature adds to the score.",
            "cli.ranking:ExplainJob:explain",
        ),
    ),
    "Scores": (
        Verb(
            "evaluate",
            "Score a run: BLEU for titles; MRR, Recall and NDCG @100 for ranked lists; per locale and overall.",
            "cli.scores:EvaluateJob:evaluate",
        ),
        Verb(
            "results",
            "Set results beside each other: a method a row; "
            "locales, overall and macro of phase 1 and phase 2 as columns.",
            "cli.scores:ResultsJob:results",
        ),
    ),
}
