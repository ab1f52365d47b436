"""Texts to token ids, remembering words: titles repeat few of them, and a space ends what a tokenizer looks at."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final

from llmrec.errors import ConfigError
from llmrec.titles.prompting.affixes import PromptAffixes

__all__ = ["TitleTokenizer"]

MOST_WORDS: Final = 300_000  # about 100 MB; then the memory starts anew


class TitleTokenizer:
    """Encodes many texts, each to the very ids that its tokenizer gives, ended by the end token.

    Titles are data: one that spells a special token, such as ``</s>``, is read with a space in it, ``< /s>``.

    Args:
        tokenizer: A fast `transformers` tokenizer; what it cannot remember it encodes on all cores.
        affixes: What stands around the prompts of a causal model; texts then get none of the tokenizer's own tokens.

    Raises:
        ConfigError: the tokenizer is not a fast one or has no end token.
    """

    def __init__(self, tokenizer: Any, affixes: PromptAffixes | None = None) -> None:
        if not getattr(tokenizer, "is_fast", False) or tokenizer.eos_token_id is None:
            name = getattr(tokenizer, "name_or_path", "") or type(tokenizer).__name__
            raise ConfigError(
                f"{name}: no fast tokenizer with an end token, which ends prompts and titles; take another model, or "
                "give its tokenizer an eos_token"
            )
        self._backend = tokenizer.backend_tokenizer
        self.affixes = affixes
        self.end: int = tokenizer.eos_token_id
        # The tokenizer's own switch for this does nothing where its Unigram vocabulary holds them as pieces too.
        self._special = re.compile("|".join(map(re.escape, _special_tokens(tokenizer))))
        self._reset()
        self.by_words = _splits_at_spaces(self._backend, self.end)
        self._words: dict[str, list[int]] = {"": []}

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, uncut and unpadded."""
        self._reset()
        texts = [self.harmless(text) for text in texts]
        if not self.by_words:
            return self._encode_whole(texts)
        split = [text.replace("\n", " ").split(" ") for text in texts]
        unknown = list(set(chain.from_iterable(split)).difference(self._words))
        if len(self._words) + len(unknown) > MOST_WORDS:
            self._words = {"": []}
            unknown = [word for word in set(chain.from_iterable(split)) if word]
        encodings = self._backend.encode_batch_fast(unknown, add_special_tokens=False)
        self._words.update((word, encoding.ids) for word, encoding in zip(unknown, encodings, strict=True))
        words = self._words
        rows = [[*chain.from_iterable([words[word] for word in parts]), self.end] for parts in split]
        joining = {word for word in unknown if _joins_the_space(word)}
        self._words = {word: ids for word, ids in words.items() if word not in joining} if joining else words
        odd = [place for place, parts in enumerate(split) if joining and not joining.isdisjoint(parts)]
        for place, ids in zip(odd, self._encode_whole([texts[place] for place in odd]), strict=True):
            rows[place] = ids
        return rows

    def harmless(self, text: str) -> str:
        """A text without special tokens: each is read with a space in it."""
        return self._special.sub(_spaced, text)

    def encode_prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each prompt: as of any text, or in the frame, with no end token before what follows."""
        rows = self.encode(texts)
        if self.affixes is None:
            return rows
        return [[*self.affixes.before, *ids[:-1], *self.affixes.after] for ids in rows]

    def ends(self, text: str) -> list[int]:
        """For each token of a text, without the end token, the place in the text where it ends."""
        self._reset()
        return [end for _, end in self._backend.encode(text, add_special_tokens=False).offsets]

    def _reset(self) -> None:
        """Undo the cut and the padding that an earlier call of the tokenizer left behind."""
        self._backend.no_truncation()
        self._backend.no_padding()

    def _encode_whole(self, texts: Sequence[str]) -> list[list[int]]:
        special = self.affixes is None
        rows = [encoding.ids for encoding in self._backend.encode_batch_fast(list(texts), add_special_tokens=special)]
        return [ids if ids[-1:] == [self.end] else [*ids, self.end] for ids in rows]


def _special_tokens(tokenizer: Any) -> list[str]:
    """All of them, the longest first; some chat models, such as Llama, name most in their added tokens alone."""
    added = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    return sorted({*tokenizer.all_special_tokens, *added}, key=lambda token: (-len(token), token))


def _spaced(found: re.Match[str]) -> str:
    return f"{found[0][0]} {found[0][1:]}"


def _joins_the_space(word: str) -> bool:
    """Whether a normalizer may join a word to a space: its ends are blanks, control characters or a mark to combine."""
    folded = unicodedata.normalize("NFKC", word)
    if not folded or folded != folded.strip():
        return bool(word)
    return unicodedata.category(folded[0])[0] in "MC" or unicodedata.category(folded[-1])[0] == "C"


def _splits_at_spaces(backend: Any, end: int) -> bool:
    """Whether a text's ids are its words' ids and the end token, as for T5's family."""
    stated = json.loads(backend.pre_tokenizer.__getstate__()) if backend.pre_tokenizer else {}
    steps = stated.get("pretokenizers", [stated])
    splits = any(step.get("type") == "WhitespaceSplit" or step.get("split") is True for step in steps)
    known = ("WhitespaceSplit", "Metaspace")
    if not splits or any(
        step.get("type") not in known or step.get("prepend_scheme", "always") != "always" for step in steps
    ):
        return False
    alone = [
        *backend.encode("a", add_special_tokens=False).ids,
        *backend.encode("b", add_special_tokens=False).ids,
        end,
    ]
    return all(backend.encode(text).ids == alone for text in ("a b", "a  b", "a\nb", " a b "))
