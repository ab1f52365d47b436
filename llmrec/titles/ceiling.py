"""What a tokenizer can write at most: the targets read and written back by it, and the way back for what it changes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from llmrec.evaluation.bleu import corpus_bleu
from llmrec.languages import PAPER_BLEU, bleu_tokenizer

__all__ = ["Ceiling", "ceiling_of", "forms_of", "restore_forms"]

MOST: Final = 10_000  # titles: more add seconds and move nothing
_LETTER: Final = re.compile(r".[\u3099\u309a\uff9e\uff9f]?", re.DOTALL)  # with its mark: a half-width one is a letter


@dataclass(frozen=True)
class Ceiling:
    """How well a tokenizer gives titles back.

    Attributes:
        num_titles: Titles that were looked at.
        bleu: BLEU of what it gives back, overall and by locale; of a locale's own tokenizer, where it has one, too.
        lost: The commonest characters that do not come back, with their number.
        num_cut: Titles that end earlier, for the length of a title.
    """

    num_titles: int
    bleu: dict[str, float]
    lost: dict[str, int]
    num_cut: int

    @property
    def record(self) -> dict[str, Any]:
        """For a run's provenance."""
        return asdict(self)

    @property
    def line(self) -> str:
        """In a sentence, for people."""
        by_locale = ", ".join(f"{name} {score:.1f}" for name, score in self.bleu.items() if name != "all")
        lost = f"; lost: {' '.join(list(self.lost)[:12])}" if self.lost else ""
        cut = f"; {self.num_cut:,} cut at the end" if self.num_cut else ""
        return (
            f"the tokenizer gives {self.num_titles:,} targets back with BLEU {self.bleu['all']:.1f} ({by_locale})"
            f"{lost}{cut}"
        )


def ceiling_of(sessions: Any, tokenizer: Any, max_tokens: int) -> Ceiling | None:
    """Read targets as the model is to learn them, and write them back.

    Args:
        sessions: Prompt sessions with ``target_title``, ``labels`` and ``locale``.
        tokenizer: The one they were encoded with.
        max_tokens: Longest title.

    Returns:
        None where no target is known.
    """
    table = sessions.select_columns(["target_title", "labels", "locale"])
    rows = [row for row in table.select(range(min(MOST, len(table)))) if row["target_title"] and row["labels"]]
    if not rows:
        return None
    written = tokenizer.batch_decode([row["labels"] for row in rows], skip_special_tokens=True)
    written = [" ".join(text.split()) for text in written]
    targets = [" ".join(row["target_title"].split()) for row in rows]
    by_locale = {"all": list(range(len(rows)))}
    for place, row in enumerate(rows):
        by_locale.setdefault(row["locale"], []).append(place)
    bleu = {}
    for name, places in by_locale.items():
        ours, wanted = ([texts[place] for place in places] for texts in (written, targets))
        bleu[name] = round(corpus_bleu(ours, wanted).score, 2)
        own = bleu_tokenizer(name) if name != "all" else PAPER_BLEU
        if own != PAPER_BLEU:
            bleu[f"{name} {own}"] = round(corpus_bleu(ours, wanted, own).score, 2)
    whole = [len(row["labels"]) < max_tokens for row in rows]
    lost: Counter[str] = Counter()
    for text, target, uncut in zip(written, targets, whole, strict=True):
        lost.update(Counter(target) - Counter(text) if uncut else ())
    return Ceiling(len(rows), bleu, dict(lost.most_common(50)), len(rows) - sum(whole))


def forms_of(tokenizer: Any) -> Callable[[str], str] | None:
    """What a tokenizer makes of a character before it reads it; None where it leaves all as they are."""
    normalizer = tokenizer.backend_tokenizer.normalizer
    return None if normalizer is None else lambda text: str(normalizer.normalize_str(text))


def restore_forms(title: str, own: Sequence[str], form: Callable[[str], str]) -> str:
    """Give a written title the characters that a tokenizer's normaliser took, as the session's own titles have them.

    mT5 reads a full-width ``（`` as ``(`` and never writes the former. Where a session's titles have a form that the
    normaliser changes, it comes back: between the same neighbours as there, and everywhere where those titles never
    have the plain form.

    Args:
        title: As it was written.
        own: Titles of its session.
        form: From `forms_of`.
    """
    seen: dict[tuple[str, str, str], Counter[str]] = {}
    anywhere: dict[str, Counter[str]] = {}
    for text in own:
        letters = _LETTER.findall(text)
        plain = [form(letter) for letter in letters]
        for place, (letter, made) in enumerate(zip(letters, plain, strict=True)):
            if made.strip():
                around = _around(plain, place)
                seen.setdefault((around[0], made, around[1]), Counter())[letter] += 1
                anywhere.setdefault(made, Counter())[letter] += 1
    changed = {made for made, forms in anywhere.items() if any(letter != made for letter in forms)}
    if not changed:
        return title
    pattern = re.compile("|".join(re.escape(one) for one in sorted(changed, key=len, reverse=True)))

    def back(found: re.Match[str]) -> str:
        before, after = title[: found.start()].rstrip()[-1:], title[found.end() :].lstrip()[:1]
        forms = seen.get((before, found[0], after)) or anywhere[found[0]]
        ((letter, number), *_) = forms.most_common(1)
        sure = len(forms) == 1 and not (len(found[0]) > 1 and forms is anywhere[found[0]])
        return letter if sure or (forms is not anywhere[found[0]] and 2 * number > forms.total()) else found[0]

    return pattern.sub(back, title)


def _around(plain: Sequence[str], place: int) -> tuple[str, str]:
    """The characters beside one, blanks left out."""
    before = "".join(plain[max(0, place - 3) : place]).rstrip()[-1:]
    return before, "".join(plain[place + 1 : place + 4]).lstrip()[:1]
