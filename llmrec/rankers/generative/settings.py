"""Settings of the generative ranker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from llmrec.errors import ConfigError
from llmrec.settings import Decides, option

__all__ = ["TigerSettings"]


@dataclass(frozen=True, kw_only=True)
class TigerSettings:
    """Settings of `Tiger`."""

    DECIDES: ClassVar[Decides] = "weights"

    text: str | None = option(None, "Folder of `llmrec embed`; the built-in TF-IDF of --products if not given.")
    text_dim: int = option(128, "Width of the built-in TF-IDF's vectors.", minimum=2, maximum=65_536)
    levels: int = option(
        3, "Codes of an item, beside the last that tells items of the same codes apart.", minimum=1, maximum=8
    )
    codes: int = option(256, "Clusters of a level of the residual k-means.", minimum=2, maximum=65_536)
    history: int = option(20, "Most recent items of a session that are read.", minimum=1, maximum=10_000)
    every_prefix: bool = option(True, "Learn from every prefix of a session, not only from the longest.")
    beams: int = option(
        100, "Codes held at each step; more where a list or what is dropped of it is longer.", minimum=1, maximum=10_000
    )
    embedding_size: int = option(128, "Width of the model.", minimum=2, maximum=16_384)
    inner_size: int = option(512, "Width of its feed-forward layers.", minimum=1, maximum=65_536)
    num_layers: int = option(3, "Layers of the encoder, and of the decoder.", minimum=1, maximum=256)
    num_heads: int = option(4, "Heads of an attention; they share the width.", minimum=1, maximum=256)
    dropout_prob: float = option(0.1, "Dropout.", minimum=0, below=1)
    seed: int = option(0, "Seed of clusters, initial weights, order and dropout.", minimum=0)
    batch_size: int = option(256, "Examples of an optimizer step, over all devices.", minimum=1, maximum=1_000_000)
    learning_rate: float = option(1e-3, "Peak learning rate of AdamW.", above=0, maximum=1_000)
    weight_decay: float = option(0.01, "Weight decay of AdamW.", minimum=0, maximum=1_000)
    schedule: Literal["linear", "cosine", "constant"] = option("cosine", "Course of the learning rate.")
    warmup_steps: int = option(100, "Steps to reach the peak learning rate.", minimum=0)
    max_grad_norm: float | None = option(1.0, "Clip the gradient to this norm.", above=0)
    max_epochs: int = option(30, "Most passes over the examples.", minimum=1, maximum=100_000)
    max_minutes: float | None = option(None, "Stop after so many minutes.", above=0)
    patience: int = option(3, "Stop after so many epochs without a better validation.", minimum=1)
    validation_share: float = option(
        0.05, "Training sessions whose last item validates instead; 2,000 at most.", minimum=0, below=1
    )
    checkpoint_every: int = option(1000, "Steps between checkpoints.", minimum=1, decides=None)
    log_to: str | None = option(None, "Trackers, as --log-to.", decides=None)

    def __post_init__(self) -> None:
        if self.embedding_size % self.num_heads:
            raise ConfigError(
                f"embedding_size {self.embedding_size} is not shared evenly by {self.num_heads} num_heads"
            )
