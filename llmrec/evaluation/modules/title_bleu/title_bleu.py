"""Corpus BLEU of titles as the paper scores them, as a module of Hugging Face's evaluate."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from llmrec.evaluation.bleu import corpus_bleu

_DESCRIPTION = "Corpus BLEU-4 of next-product titles, not smoothed (Jin et al. 2023, section 4.3)."
_INPUTS = """
Args:
    predictions: titles.
    references: the titles that came next, one a session.
    tokenize: 13a, the paper's, by default; char for Japanese.
Returns:
    title_bleu, 0-100 (the paper prints it divided by 100); signature, sacrebleu's; brevity_penalty; length_ratio.
"""
_CITATION = "Jin et al. (2023). Amazon-M2: A Multilingual Multi-locale Shopping Session Dataset. arXiv:2307.09688"


class TitleBleu(evaluate.Metric):  # type: ignore[misc]
    """Corpus BLEU of titles."""

    def _info(self) -> Any:
        features = {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(features),
        )

    def _compute(self, predictions: Any, references: Any, tokenize: str = "13a") -> dict[str, Any]:
        bleu = corpus_bleu(list(predictions), list(references), tokenize)  # what evaluate hands over is a lazy column
        return {
            "title_bleu": bleu.score,
            "signature": bleu.signature,
            "brevity_penalty": bleu.brevity_penalty,
            "length_ratio": bleu.length_ratio,
        }
