"""Settings of `llmrec embed train`: each a key of its recipes, and of ``--set``."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal

from llmrec.settings import Decides, RecipeKind, option

__all__ = ["EncoderSettings"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EncoderSettings:
    """How an encoder learns from items seen together."""

    DECIDES: ClassVar[Decides] = "weights"
    RECIPE_KIND: ClassVar[RecipeKind] = "encoder"

    base: str = option("static", "`static`: a bag of tokens that starts from nothing; or a folder or hub name.")
    start_from: str | None = option(
        None, "Encoder that a static one is distilled from, by name or folder. Default: TF-IDF of the texts."
    )
    start_titles: int = option(
        2_000, "Titles that what is distilled is fitted to; 0: tokens alone.", minimum=0, maximum=20_000
    )
    template: str = option("brand", "What of a product is read (`--template` of `llmrec embed`).")
    dim: int = option(256, "Width of a static encoder's vectors.", minimum=2, maximum=16_384)
    vocabulary: int = option(
        8_000, "Tokens of a static encoder, learnt from the products' texts.", minimum=300, maximum=1_000_000
    )
    window: int = option(10, "Items at most so many steps apart are a pair.", minimum=1, maximum=10_000)
    pair_decay: float = option(
        0.8, "A pair one place farther apart counts so much of the nearer one.", above=0, formerly=("decay",), maximum=2
    )
    recency: float = option(
        0.8,
        "Weight of an item of a session that validates relative to that of the next one.",
        above=0,
        formerly=("decay",),
        maximum=2,
    )
    temperature: float = option(0.15, "Cosines are divided by it.", above=0)
    learning_rate: float = option(1e-3, "Peak learning rate of Adam.", above=0, maximum=1_000)
    schedule: Literal["linear", "cosine", "constant"] = option("linear", "Course of the learning rate.")
    warmup_steps: int = option(0, "Steps to reach the peak learning rate.", minimum=0)
    batch_size: int = option(
        512, "Pairs a step, over all devices; the others' items are the negatives.", minimum=2, maximum=1_000_000
    )
    max_epochs: int = option(14, "Passes over as many pairs as there are.", minimum=1, maximum=100_000)
    max_steps: int | None = option(None, "Stop after so many steps.", minimum=1)
    patience: int = option(4, "Epochs without a better validation recall before it stops.", minimum=1)
    token_dropout: float = option(
        0.3, "Share of a static encoder's tokens left out of a text while it learns.", minimum=0, below=1
    )
    random_negatives: int = option(
        0, "Items drawn evenly, set beside each batch as further negatives.", minimum=0, maximum=1_000_000
    )
    logq: float = option(
        0.0, "Share of the correction for popular items being negatives more often.", minimum=0, maximum=10_000
    )
    hard_negatives: int = option(
        0, "Nearest wrong items of each item, mined anew each epoch.", minimum=0, maximum=1_000_000
    )
    lora_rank: int = option(
        0, "Learn matrices of this rank beside a transformer's own; 0 learns all of it.", minimum=0, maximum=65_536
    )
    max_grad_norm: float = option(1.0, "Clip the gradient to this norm.", above=0)
    validation_share: float = option(
        0.1, "Share of the sessions whose last item is held out to validate.", above=0, below=1
    )
    checkpoint_every: int = option(
        200, "Steps between checkpoints that --resume goes on from.", minimum=1, decides=None
    )
    log_to: str | None = option(None, "Trackers, as --log-to.", decides=None)
    seed: int = option(0, "Seed of validation sessions, order, dropout and initial weights.", minimum=0)
