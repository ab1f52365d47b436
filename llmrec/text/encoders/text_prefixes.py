"""What some models want in front of a text: they were trained with one word for queries and another for documents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

__all__ = ["prefixes_of"]

_QUERY_KEYS: Final = ("query", "search_query", "Retrieval-query")
_DOCUMENT_KEYS: Final = ("document", "passage", "corpus", "search_document", "Retrieval-document")

# By a part of the model's name, the first that fits; each from the model's card.
_BY_NAME: Final = (
    ("e5-large-instruct", "Instruct: Given a product title, retrieve similar products\nQuery: ", ""),
    ("e5-mistral", "Instruct: Given a product title, retrieve similar products\nQuery: ", ""),
    ("e5-", "query: ", "passage: "),
    ("bge-m3", "", ""),
    ("bge-multilingual", "", ""),
    ("bge-", "Represent this sentence for searching relevant passages: ", ""),
    ("nomic-embed-text", "search_query: ", "search_document: "),
)


def prefixes_of(name: str, prompts: Mapping[str, str]) -> tuple[str, str]:
    """Prefixes of queries and of documents.

    Args:
        name: The model's hub name or folder.
        prompts: Those of the model's own configuration, which win.

    Returns:
        Two texts, empty for a model that was trained without.
    """
    query = next((prompts[key] for key in _QUERY_KEYS if prompts.get(key)), None)
    document = next((prompts[key] for key in _DOCUMENT_KEYS if prompts.get(key)), None)
    if query is not None or document is not None:
        return query or "", document or ""
    lower = name.lower()
    return next(((first, second) for part, first, second in _BY_NAME if part in lower), ("", ""))
