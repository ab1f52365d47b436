"""Corpus BLEU as the paper reports it, from per-session counts, so that it can be split by locale and resampled.

The paper scores with `evaluate`'s "bleu": BLEU-4, tokenizer 13a, no smoothing, brevity penalty; sacrebleu's tokenizers
are used here, and counts, scores and signature agree with sacrebleu's by test. 0-100 in code; the paper prints 0.2655
for 26.55.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import sacrebleu
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

from llmrec.console import track
from llmrec.errors import ConfigError, DataError
from llmrec.languages import BLEU_TOKENIZERS, PAPER_BLEU, bleu_tokenizer

__all__ = [
    "ORDERS",
    "Bleu",
    "bleu_from_stats",
    "bleu_of",
    "bleu_signature",
    "bleu_stats",
    "corpus_bleu",
    "own_bleu",
    "tokenize_title",
]

ORDERS: Final = 4
_SYS, _REF = 2 * ORDERS, 2 * ORDERS + 1


@dataclass(frozen=True)
class Bleu:
    """A corpus BLEU with what is needed to read it.

    Attributes:
        score: 0-100.
        signature: sacrebleu's signature.
        brevity_penalty: 1 where the predictions are together at least as long as the targets.
        length_ratio: Tokens predicted over tokens of the targets.
    """

    score: float
    signature: str
    brevity_penalty: float
    length_ratio: float


@cache
def _tokenizer(name: str) -> Callable[[str], str]:
    if name not in BLEU_TOKENIZERS:
        raise ConfigError(f"unknown BLEU tokenizer '{name}'; known: {', '.join(BLEU_TOKENIZERS)}")
    tokenize: Callable[[str], str] = BLEU(tokenize=name, smooth_method="none", force=True).tokenizer
    return tokenize


def bleu_signature(tokenize: str = PAPER_BLEU) -> str:
    """sacrebleu's signature of the score, for example ``nrefs:1|case:mixed|eff:no|tok:13a|smooth:none|version:2.6.0``.

    Raises:
        ConfigError: an unknown tokenizer.
    """
    _tokenizer(tokenize)
    return f"nrefs:1|case:mixed|eff:no|tok:{tokenize}|smooth:none|version:{sacrebleu.__version__}"


def tokenize_title(title: str, tokenize: str = PAPER_BLEU) -> list[str]:
    """Tokens of a title as `bleu_stats` counts them.

    Raises:
        ConfigError: an unknown tokenizer.
    """
    return _tokenizer(tokenize)(title.rstrip()).split()  # the trailing space is cut first, as sacrebleu does


def bleu_stats(
    predictions: Sequence[str], targets: Sequence[str], tokenize: str | Sequence[str] = PAPER_BLEU
) -> NDArray[np.int64]:
    """Count n-grams of every session.

    Args:
        predictions: ``S`` titles; may be empty strings.
        targets: ``S`` titles.
        tokenize: One of `BLEU_TOKENIZERS`, ``13a`` being the paper's; or ``S`` of them.

    Returns:
        Shape ``(S, 10)``: n-grams found in the target for n = 1-4, n-grams written for n = 1-4, tokens written, tokens
        of the target. Sums over sessions are all that corpus BLEU needs.

    Raises:
        ConfigError: an unknown tokenizer.
        DataError: the numbers of titles differ.
    """
    if len(predictions) != len(targets):
        raise DataError(f"{len(predictions)} predicted titles for {len(targets)} targets; give one title a session")
    ways = [tokenize] * len(targets) if isinstance(tokenize, str) else tokenize
    for name in {tokenize} if isinstance(tokenize, str) else {*ways}:
        _tokenizer(name)  # an unknown one is told even where there is no title
    stats = np.zeros((len(predictions), 2 * ORDERS + 2), dtype=np.int64)
    rows = zip(predictions, targets, ways, strict=True)
    for row, (prediction, target, way) in enumerate(track(rows, "BLEU", len(predictions))):
        stats[row] = _segment_stats(tokenize_title(prediction, way), tokenize_title(target, way))
    return stats


def _segment_stats(written: list[str], wanted: list[str]) -> list[int]:
    found, total = [0] * ORDERS, [0] * ORDERS
    for n in range(ORDERS):
        total[n] = max(0, len(written) - n)
        if not total[n]:
            break
        have = Counter(zip(*(written[start:] for start in range(n + 1)), strict=False))
        want = Counter(zip(*(wanted[start:] for start in range(n + 1)), strict=False))
        found[n] = sum(min(count, want[gram]) for gram, count in have.items() if gram in want)
        if not found[n]:  # no longer n-gram can match either; the totals still count
            total[n + 1 :] = [max(0, len(written) - longer) for longer in range(n + 1, ORDERS)]
            break
    return [*found, *total, len(written), len(wanted)]


def _brevity_penalty(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    written, wanted = sums[..., _SYS], sums[..., _REF]
    ratio = wanted / np.maximum(written, 1)
    penalty = np.where(written < wanted, np.exp(np.minimum(0, 1 - ratio)), 1.0)
    return np.where((written == 0) & (wanted > 0), 0.0, penalty)


def bleu_from_stats(sums: NDArray[np.int64] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Corpus BLEU of summed statistics.

    Args:
        sums: Shape ``(..., 10)``; columns of `bleu_stats`, summed over the sessions of a corpus.

    Returns:
        Shape ``(...)``, 0-100. 0 where a corpus has no matching n-gram of some order: nothing is smoothed.
    """
    values = np.asarray(sums, dtype=np.float64)
    found, total = values[..., :ORDERS], values[..., ORDERS:_SYS]
    scored = np.asarray((found > 0).all(axis=-1))
    precisions = np.where(np.expand_dims(scored, -1), found, 1.0) / np.maximum(total, 1.0)
    geometric_mean = np.exp(np.log(precisions).mean(axis=-1))
    return np.where(scored, 100.0 * _brevity_penalty(values) * geometric_mean, 0.0)


def corpus_bleu(predictions: Sequence[str], targets: Sequence[str], tokenize: str = PAPER_BLEU) -> Bleu:
    """Score predicted titles against the sessions' next titles (paper §4.3).

    Args:
        predictions: ``S`` titles; may be empty strings.
        targets: ``S`` titles.
        tokenize: One of `BLEU_TOKENIZERS`, ``13a`` being the paper's.

    Raises:
        ConfigError: an unknown tokenizer.
        DataError: the numbers of titles differ.
    """
    return bleu_of(bleu_stats(predictions, targets, tokenize).sum(axis=0), tokenize)


def own_bleu(predictions: Sequence[str], targets: Sequence[str], locales: Sequence[str]) -> float:
    """Corpus BLEU (0-100) of sessions, each counted in the tokens of its locale's own tokenizer.

    What checkpoints are chosen by; the scores of a result are by the paper's tokenizer (`corpus_bleu`).

    Args:
        predictions: ``S`` titles; may be empty strings.
        targets: ``S`` titles.
        locales: ``S`` locales.
    """
    counts = bleu_stats(predictions, targets, [bleu_tokenizer(locale) for locale in locales])
    return float(bleu_from_stats(counts.sum(axis=0)))


def bleu_of(sums: NDArray[np.int64], tokenize: str = PAPER_BLEU) -> Bleu:
    """BLEU record of one corpus, from its summed statistics, shape ``(10,)``."""
    written, wanted = int(sums[_SYS]), int(sums[_REF])
    return Bleu(
        score=float(bleu_from_stats(sums)),
        signature=bleu_signature(tokenize),
        brevity_penalty=float(_brevity_penalty(sums.astype(np.float64))),
        length_ratio=written / wanted if wanted else 0.0,
    )
