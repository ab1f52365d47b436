"""Task 3: the next product's title, written by a sequence-to-sequence model (paper §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec.config import GenerateConfig
from llmrec.errors import require

if TYPE_CHECKING:
    from llmrec.evaluation.results import Result

__all__ = ["generate_titles"]


def generate_titles(config: GenerateConfig) -> Result | None:
    """Fine-tune a model, write the titles of a split as a run and score them beside Last Product Title.

    Returns:
        The scores, on the main process; None on the others and for a split without targets.

    Raises:
        LlmrecError: a setting, the store or the model folder cannot be used.
        MissingExtraError: the packages of the ``generate`` extra are not installed.
    """
    for package in ("torch", "transformers", "accelerate", "datasets", "sentencepiece"):
        require(package, "generate")
    from llmrec.generation.backends import check_decoding  # here, so that `import llmrec` stays light
    from llmrec.generation.titles import run_generation

    check_decoding(config)
    return run_generation(config)
