"""Prompts as tokens that fit: the oldest titles go first, and some of the most recent one always stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from llmrec.errors import ConfigError
from llmrec.languages import locales
from llmrec.text.prompts import Prompt, one_line
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

__all__ = ["check_room", "encode_prompts", "encode_titles"]

Products = Sequence[Mapping[str, str]]


def encode_titles(encoder: TitleTokenizer, titles: Sequence[str | None], max_tokens: int) -> list[list[int]]:
    """Token ids of each title, at most ``max_tokens`` with the end token; none where the title is null."""
    known = [place for place, title in enumerate(titles) if title is not None]
    rows: list[list[int]] = [[] for _ in titles]
    for place, ids in zip(known, encoder.encode([titles[place] or "" for place in known]), strict=True):
        rows[place] = ids if len(ids) <= max_tokens else [*ids[: max_tokens - 1], encoder.end]
    return rows


def encode_prompts(
    prompt: Prompt,
    encoder: TitleTokenizer,
    sessions: Sequence[tuple[str, Products]],
    max_tokens: int,
    candidates: Sequence[Products] | None = None,
) -> tuple[list[str], list[list[int]]]:
    """Render and encode the prompts of some sessions so that none exceeds ``max_tokens``.

    A prompt that is too long loses its oldest products one by one, then the attributes of the most recent product, then
    the end of its title.

    Args:
        prompt: What to render.
        encoder: Of the tokenizer.
        sessions: Locale and products (oldest first) of each session.
        max_tokens: Most tokens of a prompt, the end token included.
        candidates: Those of each session, for a prompt that names them; they are never cut.

    Returns:
        The texts as cut, and their token ids, ended by the end token.

    Raises:
        ConfigError: ``max_tokens`` is too small for the wording and any part of a title.
    """
    shown = [()] * len(sessions) if candidates is None else candidates
    texts = [prompt.render(products, locale, some) for (locale, products), some in zip(sessions, shown, strict=True)]
    rows = encoder.encode_prompts(texts)
    kept = {place: sessions[place][1] for place, ids in enumerate(rows) if len(ids) > max_tokens}
    while kept:
        for place, products in kept.items():
            shorter = _shorter(encoder, products, len(rows[place]) - max_tokens)
            if not shorter:
                raise ConfigError(_no_room(prompt, max_tokens, len(rows[place]), sessions[place][0]))
            kept[place] = shorter
            texts[place] = prompt.render(shorter, sessions[place][0], shown[place])
        for place, ids in zip(list(kept), encoder.encode_prompts([texts[place] for place in kept]), strict=True):
            rows[place] = ids
            if len(ids) <= max_tokens:
                del kept[place]
    return texts, rows


def _shorter(encoder: TitleTokenizer, products: Products, excess: int) -> Products:
    """The next step of cutting; empty where nothing may go any more."""
    if len(products) > 1:
        return products[1:]
    if any(value for product in products for name, value in product.items() if name != "title"):
        return [{"title": products[0]["title"]}]
    title = _cut_end(encoder, one_line(products[0]["title"]), excess) if products else ""
    return [{"title": title}] if title else []


def _cut_end(encoder: TitleTokenizer, title: str, excess: int) -> str:
    """Leave out the last ``excess`` tokens of a title, or all but its first; "" where it cannot get shorter.

    The text is cut by the tokens' places in it, for decoding tokens does not always give the same text back.
    """
    ends = encoder.ends(title)
    keep = max(1, len(ends) - excess)
    inside = [end for end in ends if 0 < end < len(title)]
    within = [end for end in ends[:keep] if 0 < end < len(title)]
    place = max(within, default=min(inside, default=0))
    return title[:place].rstrip()


def check_room(prompt: Prompt, encoder: TitleTokenizer, max_tokens: int) -> None:
    """Refuse a ``max_tokens`` that the wording alone fills, before a long run starts.

    Raises:
        ConfigError: names the language and what is needed.
    """
    known = list(locales())
    for locale, ids in zip(known, encoder.encode_prompts([prompt.render([{}], one) for one in known]), strict=True):
        if len(ids) >= max_tokens:
            raise ConfigError(_no_room(prompt, max_tokens, len(ids) + 1, locale))


def _no_room(prompt: Prompt, max_tokens: int, needed: int, locale: str) -> str:
    return (
        f"--max-source-tokens {max_tokens} leaves no room for a title in prompt {prompt.name} (locale {locale}); "
        f"give it at least {needed}"
    )
