"""Settings of neural rankers: what all share, and what each model adds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from llmrec.errors import ConfigError
from llmrec.settings import Decides, option

__all__ = [
    "CoreSettings",
    "Gru4RecSettings",
    "MgsSettings",
    "NarmSettings",
    "NeuralSettings",
    "SasRecSettings",
    "SrGnnSettings",
    "StampSettings",
]


@dataclass(frozen=True, kw_only=True)
class NeuralSettings:
    """Settings of every neural ranker; the defaults are the paper's form, a recipe's are what works best."""

    DECIDES: ClassVar[Decides] = "weights"
    GONE: ClassVar[tuple[str, ...]] = ("negative_power", "validation_sessions")

    embedding_size: int = option(128, "Dimensions of item and session vectors.", minimum=2, maximum=16_384)
    history: int = option(
        50, "Most recent items of a session that are read.", minimum=1, formerly=("max_length",), maximum=10_000
    )
    every_prefix: bool = option(True, "Learn from every prefix of a session, not only from the longest.")
    seed: int = option(0, "Seed of initial weights, order, negatives and dropout.", minimum=0)

    init: Literal["normal", "svd", "text"] = option(
        "normal", "Item vectors at the start: the model's own random ones, factorised co-occurrence, or the titles'."
    )
    init_scale: float = option(1.0, "Length of an item vector made by `svd` or `text`.", above=0, maximum=10_000)
    window: int = option(
        5,
        "Farthest distance of two items in a session that counts, for `init: svd`.",
        minimum=1,
        formerly=("svd_window",),
        maximum=10_000,
    )
    pair_decay: float = option(
        0.5,
        "A pair one place farther apart counts so much of the nearer one.",
        above=0,
        formerly=("svd_decay",),
        maximum=2,
    )
    svd_local: float = option(
        0.0, "Part of the dimensions that tells near neighbours apart, not groups.", minimum=0, maximum=10_000
    )
    text: str | None = option(
        None, "Folder of `llmrec embed` whose vectors stand for titles; the built-in TF-IDF of --products if not given."
    )
    text_whitening: float = option(
        0.0,
        "How far `text` evens out its principal components: 0 leaves them, 1 makes all alike.",
        minimum=0,
        maximum=10_000,
    )
    delta_norm: float | None = option(
        None, "Item vectors move at most so far from their `svd` or `text` start, in lengths of it.", above=0
    )
    cold_items: bool | None = option(
        None, "Rank titled products that no session holds, by their text; where not given, `init: text` does."
    )
    readout: Literal["model", "attention"] = option(
        "model", "Session vector: the model's own, or the session's item vectors weighted by it."
    )
    unit_length: bool = option(False, "Scale session and item vectors to length 1, with a temperature.")
    scale: float = option(
        12.0, "Product of unit vectors times this is the logit (one over the temperature).", above=0, maximum=10_000
    )
    learn_scale: bool = option(True, "Learn the scale.")
    item_dropout: float = option(0.0, "Dropout of item vectors that sessions are compared with.", minimum=0, below=1)

    loss: Literal["full", "chunked", "sampled"] = option(
        "full", "Softmax over all items, the same in chunks that take little memory, or against drawn negatives."
    )
    padding_class: bool = option(False, "Count padding among the items of the full softmax, as RecBole does.")
    num_negatives: int = option(4096, "Negatives drawn for a batch.", minimum=1, maximum=1_000_000)
    logq: float = option(
        1.0, "Strength of the correction for how often negatives are drawn: 1 is full.", minimum=0, maximum=10_000
    )

    locale_weight: float = option(
        0.0,
        "Raise a score by this times the log of the locale's share of the item's occurrences.",
        minimum=0,
        maximum=10_000,
    )
    popularity_weight: float = option(
        0.0, "Raise a score by this times the log of how often the item occurs.", minimum=0, maximum=10_000
    )

    batch_size: int = option(512, "Examples of an optimizer step, over all devices.", minimum=1, maximum=1_000_000)
    learning_rate: float = option(1e-3, "Peak learning rate of Adam.", above=0, maximum=1_000)
    item_learning_rate: float = option(
        1.0, "Learning rate of item vectors, as a multiple of the others'.", above=0, maximum=1_000
    )
    schedule: Literal["linear", "cosine", "constant"] = option("constant", "Course of the learning rate.")
    warmup_steps: int = option(0, "Steps to reach the peak learning rate.", minimum=0)
    max_grad_norm: float | None = option(None, "Clip the gradient to this norm.", above=0)
    max_epochs: int = option(20, "Most passes over the examples.", minimum=1, maximum=100_000)
    max_minutes: float | None = option(None, "Stop after so many minutes.", above=0)
    patience: int = option(2, "Stop after so many epochs without a better validation.", minimum=1)
    validation_share: float = option(
        0.05, "Training sessions whose last item validates instead; 2,000 at most.", minimum=0, below=1
    )
    checkpoint_every: int = option(1000, "Steps between checkpoints.", minimum=1, decides=None)
    log_to: str | None = option(None, "Trackers, as --log-to.", decides=None)
    row_updates: bool | None = option(
        None, "Update only the item vectors that a batch uses (`sampled` alone); by itself from 200,000 items."
    )
    bf16: bool = option(False, "Compute in bfloat16 where it is safe.")
    freeze_items: bool = option(False, "Leave item vectors as they are.")
    freeze_encoder: bool = option(False, "Leave everything but item vectors and readout as it is.")

    def __post_init__(self) -> None:
        for name in ("svd_local", "text_whitening", "validation_share", "item_dropout"):
            if getattr(self, name) > 1:
                raise ConfigError(f"{name} must be at most 1; got {getattr(self, name):g}")
        if self.row_updates and self.loss != "sampled":
            raise ConfigError(f"row_updates needs loss: sampled; '{self.loss}' uses every item's vector")
        if self.delta_norm is not None and (self.init == "normal" or self.freeze_items):
            raise ConfigError(
                "delta_norm bounds how far training takes vectors from init: svd or text; not with freeze_items"
            )
        if self.cold_items and self.init != "text":
            raise ConfigError(f"cold_items needs init: text; '{self.init}' knows nothing of an item without sessions")


@dataclass(frozen=True, kw_only=True)
class Gru4RecSettings(NeuralSettings):
    """Settings of GRU4Rec and GRU4RecF."""

    hidden_size: int = option(128, "Width of the recurrent layers.", minimum=1, maximum=16_384)
    num_layers: int = option(1, "Recurrent layers.", minimum=1, maximum=256)
    dropout_prob: float = option(0.3, "Dropout of the session's item vectors.", minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class NarmSettings(NeuralSettings):
    """Settings of NARM."""

    hidden_size: int = option(128, "Width of the recurrent layers.", minimum=1, maximum=16_384)
    n_layers: int = option(1, "Recurrent layers.", minimum=1, maximum=256)
    dropout_probs: tuple[float, ...] = option(
        (0.25, 0.5), "Dropout of item vectors, and before the last layer.", below=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.dropout_probs) != 2:
            raise ConfigError(f"dropout_probs must be two numbers; got {list(self.dropout_probs)}")


@dataclass(frozen=True, kw_only=True)
class StampSettings(NeuralSettings):
    """Settings of STAMP; it has none of its own."""


@dataclass(frozen=True, kw_only=True)
class SrGnnSettings(NeuralSettings):
    """Settings of SR-GNN and SRGNNF."""

    step: int = option(1, "Rounds of message passing.", minimum=1, maximum=100)


@dataclass(frozen=True, kw_only=True)
class SasRecSettings(NeuralSettings):
    """Settings of SASRec."""

    n_layers: int = option(2, "Transformer layers.", minimum=1, maximum=256)
    n_heads: int = option(2, "Attention heads.", minimum=1, maximum=1_024)
    inner_size: int = option(256, "Width of the feed-forward layers.", minimum=1, maximum=65_536)
    hidden_dropout_prob: float = option(0.5, "Dropout of hidden states.", minimum=0, below=1)
    attn_dropout_prob: float = option(0.5, "Dropout of attention weights.", minimum=0, below=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.embedding_size % self.n_heads:
            raise ConfigError(f"embedding_size {self.embedding_size} must be a multiple of n_heads {self.n_heads}")


@dataclass(frozen=True, kw_only=True)
class CoreSettings(SasRecSettings):
    """Settings of CORE with its transformer; it has unit vectors and a fixed temperature."""

    n_layers: int = option(1, "Transformer layers.", minimum=1, maximum=256)
    sess_dropout: float = option(0.2, "Dropout of the session's item vectors.", minimum=0, below=1)


@dataclass(frozen=True, kw_only=True)
class MgsSettings(NeuralSettings):
    """Settings of MGS."""

    hops: int = option(
        1, "Rounds of message passing between the session's and the mirror graph.", minimum=1, maximum=16
    )
    samples: int = option(6, "Neighbours drawn for an item and attribute.", minimum=1, maximum=100_000)
    mu: float = option(0.8, "Most share of the last item in the session vector.", minimum=0, maximum=1)
    phi: float = option(0.1, "Weight of the contrastive loss.", minimum=0)
    contrast_temperature: float = option(0.1, "Temperature of the contrastive loss.", above=0)
    dropout: float = option(0.2, "Dropout of mirror vectors.", minimum=0, below=1)
