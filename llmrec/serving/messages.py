"""What the service is asked and what it answers: types that check a request and describe themselves as JSON Schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, field

__all__ = [
    "MOST_BATCH",
    "MOST_ITEMS",
    "MOST_K",
    "Batch",
    "BatchAnswer",
    "Evaluate",
    "EvaluateAnswer",
    "Explain",
    "ExplainAnswer",
    "Labelled",
    "Measured",
    "ModelAnswer",
    "ModelsAnswer",
    "Problem",
    "ProblemAnswer",
    "Recommend",
    "RecommendAnswer",
    "Recommended",
    "Rerank",
    "RerankAnswer",
    "Reranked",
    "Similar",
    "SimilarAnswer",
    "SimilarProduct",
    "Title",
    "TitleAnswer",
    "Warned",
    "warnings_of",
    "words_of",
]

MOST_ITEMS: Final = 1_000  # of a session
MOST_K: Final = 1_000
MOST_BATCH: Final = 1_024
MOST_DOCUMENTS: Final = 1_000
_ID_CHARACTERS: Final = 256
_TEXT_CHARACTERS: Final = 8_192
_SHOWN_UNKNOWN: Final = 10  # unknown ids that a warning names

Id = Annotated[str, Meta(min_length=1, max_length=_ID_CHARACTERS, description="Id of a product.")]
Text = Annotated[str, Meta(min_length=1, max_length=_TEXT_CHARACTERS)]
Items = Annotated[
    list[Id], Meta(max_length=MOST_ITEMS, description="What the session looked at, oldest first; may be empty.")
]
Locale = Annotated[
    str | None, Meta(description="Locale of the session, such as DE; may be left out where the ranker knows one alone.")
]
K = Annotated[int, Meta(ge=1, le=MOST_K, description="Most products.")]
Seen = Annotated[
    Literal["drop", "keep"] | None,
    Meta(description="Whether the session's own items may be in its list; as the ranker was fitted if left out."),
]


class _Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Anything that is asked: unknown names are refused."""


class _Answer(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Anything that is answered: what is not known is left out."""


class Recommend(_Request):
    """A session that wants its next products."""

    items: Items
    locale: Locale = None
    k: K = 10
    seen: Seen = None
    exclude: Annotated[list[Id], Meta(max_length=MOST_ITEMS, description="Products that are not to be listed.")] = []
    explain: Annotated[bool, Meta(description="Say why each product is where it is.")] = False


class Batch(_Request):
    """Sessions that want their next products, at once."""

    sessions: Annotated[list[Recommend], Meta(min_length=1, max_length=MOST_BATCH)]


class Title(_Request):
    """A session that wants the title of its next product: ids of products that are known here, or titles."""

    items: Items = []
    titles: Annotated[list[Text], Meta(max_length=MOST_ITEMS, description="Titles in place of ids, oldest first.")] = []
    locale: Locale = None


class Similar(_Request):
    """A title, a product or a session that wants products like it; one of the three."""

    title: Text | None = None
    product: Id | None = None
    items: Items | None = None
    locale: Annotated[str | None, Meta(description="Only products of this locale; all if not given.")] = None
    k: K = 10


class Document(_Request):
    """A document as an object, as Cohere's older clients send it."""

    text: Text


class Rerank(_Request):
    """A text, and documents to be put in the order of how near they are to it (Cohere's form)."""

    query: Text
    documents: Annotated[list[Text | Document], Meta(min_length=1, max_length=MOST_DOCUMENTS)]
    top_n: Annotated[int, Meta(ge=1, description="Most documents; all if not given.")] | None = None
    model: Annotated[str | None, Meta(description="Taken for compatibility; this service has one encoder.")] = None
    return_documents: bool = False
    max_tokens_per_doc: (
        Annotated[int, Meta(ge=1, description="Taken for compatibility; texts are cut where the encoder ends.")] | None
    ) = None


class Explain(_Request):
    """A session and a product that it did, or did not, get."""

    items: Items
    product: Id
    locale: Locale = None
    k: K = 10
    seen: Seen = None


class Labelled(_Request):
    """A session whose next product is known."""

    items: Items
    next_item: Id
    locale: Locale = None


class Evaluate(_Request):
    """Sessions whose next products are known, to measure the ranker on."""

    sessions: Annotated[list[Labelled], Meta(min_length=1, max_length=MOST_BATCH)]
    seen: Seen = None


class Warned(_Answer):
    """What was not as asked, and did no harm: how many items it is of, and the first of them."""

    code: Literal["unknown_items", "fallback", "no_titles"]
    message: str
    count: int = 0
    items: list[str] = []


class Recommended(_Answer):
    """A product of a list. ``sources`` names the rank it had at each ranker that proposed it; ``why`` is in words."""

    rank: int
    id: str
    score: float
    title: str | None = None
    brand: str | None = None
    price: float | None = None
    sources: dict[str, int] = {}
    reasons: list[dict[str, Any]] = []
    why: list[str] = []


class RecommendAnswer(_Answer):
    """The next products, best first. ``fallback``: none of the session's items is known, so these are the locale's most
    frequent ones."""

    model: str
    locale: str
    items: list[Recommended]
    fallback: bool
    warnings: list[Warned]


class BatchAnswer(_Answer):
    """An answer for each session, in their order."""

    results: list[RecommendAnswer]


class TitleAnswer(_Answer):
    """A title. ``last_title`` is that of the last product; the words of both are told apart. ``by``: whether a model
    wrote it, or a selector chose it, which then expects this BLEU of it."""

    model: str
    locale: str
    title: str
    last_title: str
    kept: list[str]
    dropped: list[str]
    new: list[str]
    warnings: list[Warned]
    by: Literal["model", "selector"]
    expected_bleu: float | None = None


class SimilarProduct(_Answer):
    """A product that was found; ``score`` is the cosine."""

    rank: int
    id: str
    score: float
    locale: str
    title: str = ""


class SimilarAnswer(_Answer):
    """Products, nearest first."""

    model: str
    items: list[SimilarProduct]


class Reranked(_Answer):
    """A document by its place among those that were sent, from 0."""

    index: int
    relevance_score: float
    document: dict[str, str] | None = None


class RerankAnswer(_Answer):
    """Documents, nearest first."""

    id: str
    results: list[Reranked]


class ExplainAnswer(_Answer):
    """Why a product is, or is not, in a session's list."""

    model: str
    locale: str
    product: str
    listed: bool
    reason: str
    rank: int | None = None
    score: float | None = None
    last_score: float | None = None
    sources: dict[str, int] = {}
    reasons: list[dict[str, Any]] = []
    why: list[str] = []
    warnings: list[Warned] = []


class Measured(_Answer):
    """Metrics of some sessions, fractions from 0 to 1: ``mrr@100``, ``recall@100``, ``ndcg@100``."""

    num_sessions: int
    metrics: dict[str, float]


class EvaluateAnswer(Measured):
    """How often, and how early, the ranker lists what came next: of all sessions, and by locale."""

    model: str
    locales: dict[str, Measured]


class ModelAnswer(_Answer):
    """Something that the service holds."""

    id: str
    kind: str
    name: str
    version: str = ""
    locales: list[str] = []
    items: int | None = None
    settings: dict[str, Any] = {}


class ModelsAnswer(_Answer):
    """What the service holds."""

    data: list[ModelAnswer]


class Problem(_Answer):
    """What is wrong, where, and the way out."""

    code: str
    message: str
    field: str = ""


class ProblemAnswer(_Answer):
    """An error."""

    error: Problem
    request_id: str = field(default="")


def warnings_of(unknown: Sequence[str], fallback: bool, locale: str) -> list[Warned]:
    """What is said of a session's unknown items, and of one that has no other."""
    warnings = []
    if unknown:
        few = list(dict.fromkeys(unknown))[:_SHOWN_UNKNOWN]
        count = f"{len(unknown):,} item" + ("s are" if len(unknown) > 1 else " is")
        warnings.append(
            Warned(code="unknown_items", message=f"{count} not known and passed over", count=len(unknown), items=few)
        )
    if fallback:
        message = f"no item of the session is known; these are the most frequent products of {locale}"
        warnings.append(Warned(code="fallback", message=message))
    return warnings


def words_of(last: str, title: str) -> dict[str, list[str]]:
    """Words that a title shares with the last one, lost of it, and added."""
    old, new = last.split(), title.split()
    return {
        "kept": [word for word in new if word in set(old)],
        "dropped": [word for word in old if word not in set(new)],
        "new": [word for word in new if word not in set(old)],
    }
