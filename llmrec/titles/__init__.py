"""Task 3: the next product's title, written by a sequence-to-sequence model (paper §4.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmrec.errors import ConfigError, require
from llmrec.titles.settings import GenerateConfig

if TYPE_CHECKING:
    from llmrec.evaluation.results import Result
    from llmrec.titles.publish import Select

__all__ = ["generate_titles"]


def generate_titles(config: GenerateConfig, select: Select | None = None) -> Result | None:
    """Fine-tune a model, write the titles of a split as a run and score them beside Last Product Title.

    Args:
        config: Settings.
        select: What chooses among written and other titles for ``config.select``; `llmrec.selection.generated` has it.

    Returns:
        The scores, on the main process; None on the others and for a split without targets.

    Raises:
        LlmrecError: a setting, the store or the model folder cannot be used.
        MissingExtraError: the packages of the ``generate`` extra are not installed.
    """
    for package in ("torch", "transformers", "accelerate", "datasets", "sentencepiece"):
        require(package, "generate")
    from llmrec.titles.decoding.backends import check_decoding  # here, so that `import llmrec` stays light
    from llmrec.titles.generation import run_generation

    check_decoding(config)
    if config.select and select is None:
        raise ConfigError("select: call llmrec.selection.generated.generate_titles, which chooses among written titles")
    return run_generation(config, select)
