"""What learns: a table of tokens, or a transformer. Both turn codes of products into vectors of length 1."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  # as everybody writes it

from llmrec.arrays import Floats, Ints
from llmrec.ragged import Ragged
from llmrec.text.encoders.base import Encoder
from llmrec.text.encoders.static import StaticEncoder, count_tokens
from llmrec.text.encoders.svd import right_vectors
from llmrec.text.encoders.tfidf import FIT_TITLES, inverse_frequencies, weighted

__all__ = ["TrainableEncoder", "TrainableStaticEncoder", "learn_tokenizer", "tfidf_table"]


TOKENIZER_TEXTS: Final = 200_000  # texts that the vocabulary is learnt from


class TrainableEncoder(nn.Module):
    """Vectors of products whose texts it holds.

    Attributes:
        num_items: Products that it holds texts of.
    """

    num_items: int

    def forward(self, items: Ints) -> Tensor:
        """Vectors of products, shape ``(len(items), D)``, each of length 1."""
        raise NotImplementedError

    def encoder(self) -> Encoder:
        """What it has learnt so far, as an encoder of any text."""
        raise NotImplementedError

    @torch.no_grad()
    def vectors(self, part: int = 512) -> Floats:
        """Vectors of all products, shape ``(N, D)``."""
        was_training = self.training
        self.eval()
        starts = range(0, self.num_items, part)
        rows = [self(np.arange(start, min(start + part, self.num_items))).float().cpu().numpy() for start in starts]
        self.train(was_training)
        return np.concatenate(rows)


class TrainableStaticEncoder(TrainableEncoder):
    """A bag of tokens: a table with a row for each."""

    def __init__(self, tokenizer: Any, table: Floats, texts: list[str], dropout: float) -> None:
        """Make a trainable encoder.

        Args:
            tokenizer: Of `learn_tokenizer`.
            table: What it starts from, shape ``(V, D)``, so that it is of use before it learns.
            texts: Of the products it learns with.
            dropout: Share of tokens left out while it learns.
        """
        super().__init__()
        self.tokenizer_json, self.dropout, self.num_items = tokenizer.to_str(), dropout, len(texts)
        self.table = nn.Parameter(torch.from_numpy(table))
        counts = count_tokens(tokenizer, texts, len(table))
        self._tokens = Ragged(counts.indptr.astype(np.int64), counts.indices.astype(np.int64))

    def forward(self, items: Ints) -> Tensor:
        """Sums of the tokens' rows, a part of them left out while it learns; shape ``(len(items), D)``."""
        read, device = self._tokens.take(items), self.table.device
        tokens = torch.from_numpy(read.values).to(device)
        kept = torch.ones(len(tokens), device=device)
        if self.training and self.dropout:
            kept = (torch.rand(len(tokens), device=device) >= self.dropout).float()
        starts = torch.from_numpy(read.offsets[:-1]).to(device)
        summed = F.embedding_bag(tokens, self.table, starts, mode="sum", per_sample_weights=kept)
        return F.normalize(summed, dim=1, eps=1e-6)

    def encoder(self) -> StaticEncoder:
        """The table and its tokenizer."""
        return StaticEncoder("static", self.tokenizer_json, self.table.detach().cpu().numpy().copy())


def learn_tokenizer(texts: list[str], size: int, seed: int = 0) -> Any:
    """A byte-pair tokenizer without case, of at most ``size`` tokens, learnt from texts or a random part of them."""
    if len(texts) > TOKENIZER_TEXTS:
        drawn = np.random.default_rng(seed).choice(len(texts), TOKENIZER_TEXTS, replace=False)
        texts = [texts[place] for place in np.sort(drawn)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits()])
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, max_token_length=24)
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def tfidf_table(tokenizer: Any, corpus: list[str], dim: int, seed: int) -> Floats:
    """Vectors of a vocabulary's tokens by the SVD of some texts' TF-IDF, shape ``(V, dim)``."""
    rng = np.random.default_rng(seed)
    if len(corpus) > FIT_TITLES:
        corpus = [corpus[place] for place in np.sort(rng.choice(len(corpus), FIT_TITLES, replace=False))]
    counts = count_tokens(tokenizer, corpus, tokenizer.get_vocab_size())
    counts.sum_duplicates()
    weights = inverse_frequencies(counts)
    table: Floats = right_vectors(weighted(counts, weights), dim, rng) * weights[:, None]
    table += 1e-3 * rng.standard_normal(table.shape, dtype=np.float32)  # a token of no text may learn yet
    return table
