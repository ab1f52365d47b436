"""Decoding that can only name products which exist: at each step, the tokens that lead to a catalogue title."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import LogitsProcessor

from llmrec.titles.decoding.decode import pad_prompts
from llmrec.titles.decoding.trie import Prefix, TitleTrie
from llmrec.titles.models.causal import generate_tokens

__all__ = ["TitleConstraint", "decode_constrained"]

PADDING = 0


class TitleConstraint(LogitsProcessor):  # type: ignore[misc]
    """Gives every token that leads to no title of its session's locale the score of minus infinity.

    Args:
        trie: Titles to choose from.
        locales: Locale of each of the ``B`` sessions of a batch.
        num_beams: Rows of a session.

    Raises:
        DataError: a locale has no titles.
    """

    def __init__(self, trie: TitleTrie, locales: Sequence[str], num_beams: int) -> None:
        self._trie = trie
        self._known: list[dict[bytes, Prefix]] = [{b"": trie.root(locale)} for locale in locales]
        self._num_beams = num_beams

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of the next token, shape ``(B * num_beams, V)``, from tokens that start with the decoder's own."""
        written = input_ids[:, 1:].cpu().numpy()
        prefixes = [self._prefix(row // self._num_beams, tokens) for row, tokens in enumerate(written)]
        numbers = {prefix: number for number, prefix in enumerate(dict.fromkeys(prefixes))}
        allowed = torch.zeros((len(numbers), scores.shape[1]), dtype=torch.bool)
        for prefix, number in numbers.items():
            tokens = self._trie.following(prefix)[0] if prefix is not None else ()
            allowed[number, torch.from_numpy(np.asarray(tokens, dtype=np.int64)) if len(tokens) else PADDING] = True
        rows = torch.tensor([numbers[prefix] for prefix in prefixes])
        return scores.masked_fill(~allowed[rows].to(scores.device), -torch.inf)

    def _prefix(self, session: int, tokens: NDArray[np.int64]) -> Prefix | None:
        """What a beam has written; None behind the end, or off the trie, where a beam has no score left."""
        known = self._known[session]
        key = tokens.tobytes()
        if key not in known:
            before = known.get(tokens[:-1].tobytes())
            longer = self._trie.extend(before, int(tokens[-1])) if before is not None else None
            if longer is None:
                return None
            known[key] = longer
        return known[key]


def decode_constrained(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    locales: Sequence[str],
    trie: TitleTrie,
    *,
    max_tokens: int,
    num_beams: int = 1,
) -> list[list[str]]:
    """Catalogue titles of some prompts' locales, the most likely first; at least one and at most ``num_beams`` each.

    Args:
        model: A `transformers` sequence-to-sequence model.
        tokenizer: Its tokenizer.
        prompts: Token ids of ``B`` prompts, each ended by the end token.
        locales: Locale of each.
        trie: Titles to choose from, made with the same ``max_tokens``.
        max_tokens: Most tokens of a title.
        num_beams: Beams; 1 is greedy.
    """
    tokens = generate_tokens(
        model,
        *pad_prompts(prompts, model.device),
        max_tokens=max_tokens,
        num_beams=num_beams,
        num_return_sequences=num_beams,
        logits_processor=[TitleConstraint(trie, locales, num_beams)],
    )
    written = tokens[:, 1:].cpu().numpy().reshape(len(prompts), num_beams, -1)
    end = tokenizer.eos_token_id
    titles = [[trie.title(locale, beam, end) for beam in beams] for locale, beams in zip(locales, written, strict=True)]
    return [list(dict.fromkeys(title for title in beams if title is not None)) for beams in titles]
