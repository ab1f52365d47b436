"""Vocabulary trimming: a T5 model that knows the tokens of one shop alone, and the way back.

Four fifths of mT5-small are the 250,112 rows of its embedding and of its head, of which a catalogue uses some ten
thousand. A trimmed model gives the tokens it has kept the scores that the full one gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from llmrec.console import track
from llmrec.data.connection import connected
from llmrec.data.store import Store
from llmrec.errors import ModelError
from llmrec.text.prompts import Prompt
from llmrec.titles.models.cut_tokenizer import kept_tokens, trim_tokenizer, used_tokens
from llmrec.titles.prompting.recent_products import titled_products

__all__ = ["FREQUENT", "catalogue_texts", "restore", "select_rows", "trim"]

Indices = NDArray[np.int64]
FREQUENT: Final = 2_000
BATCH_PRODUCTS: Final = 8_192
MOST_SHOWN: Final = 20  # products of the longest prompt that is rendered, for the numbers it counts them with


def trim(
    model: Any, tokenizer: Any, store: Store, prompts: Sequence[Prompt], frequent: int = FREQUENT
) -> tuple[Any, Any]:
    """Cut a model's vocabulary, in place, to what a store and some prompts are spelled with.

    Args:
        model: A T5 or mT5 model.
        tokenizer: Its fast Unigram tokenizer.
        store: Whose products are read, all of them; titles are read, no sessions.
        prompts: What the model is going to read.
        frequent: Number of the most frequent pieces to keep whether used or not.

    Returns:
        The model and the new tokenizer.

    Raises:
        ModelError: the model is not of T5's family or its tokenizer is no Unigram model.
    """
    used = used_tokens(tokenizer, catalogue_texts(store, prompts))
    kept = kept_tokens(tokenizer, used, frequent)
    return select_rows(model, kept), trim_tokenizer(tokenizer, kept)


def catalogue_texts(store: Store, prompts: Sequence[Prompt]) -> Iterator[list[str]]:
    """Every title of a store, and prompts that show every product, in batches."""
    fields = tuple(dict.fromkeys(name for prompt in prompts for name in prompt.fields)) or ("title",)
    counted = set[str]()
    with connected() as con:
        products = titled_products(con, store, fields).to_pyarrow()
    batches = products.to_batches(max_chunksize=BATCH_PRODUCTS)
    for batch in track(batches, "tokens of the catalogue", len(batches)):
        rows = batch.to_pylist()
        yield [row["title"] for row in rows]
        for locale in sorted({row["locale"] for row in rows}):
            mine = [{name: row[name] for name in fields} for row in rows if row["locale"] == locale]
            for prompt in prompts:
                yield list(_prompts(prompt, locale, mine, locale not in counted))
            counted.add(locale)


def _prompts(prompt: Prompt, locale: str, products: list[dict[str, str]], first: bool) -> Iterator[str]:
    """Prompts of up to three products, so that each is shown; once a locale also the longer ones."""
    rows = iter(products)
    while shown := list(islice(rows, 3)):
        yield prompt.render(shown, locale)
    if first:
        for number in range(min(len(products), MOST_SHOWN) + 1):
            yield prompt.render(products[:number], locale)


def select_rows(model: Any, rows: Indices) -> Any:
    """Keep some rows of a model's embedding and head, in place; a tied head stays tied.

    Args:
        model: A T5 or mT5 model.
        rows: Shape ``(V,)``; rising token ids, the padding and the end token (0 and 1) first.

    Raises:
        ModelError: it is another kind of model, or 0 and 1 are left out.
    """
    if model.config.model_type not in ("t5", "mt5", "umt5"):
        raise ModelError(f"only a model of T5's family can be trimmed; this one is '{model.config.model_type}'")
    if rows[:2].tolist() != [0, 1] or {model.config.pad_token_id, model.config.eos_token_id} != {0, 1}:
        raise ModelError("the padding and the end token must be tokens 0 and 1, as in all of T5's family")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied, index = head.weight is embedding.weight, torch.from_numpy(rows)
    smaller = torch.nn.Embedding(len(rows), embedding.embedding_dim, _weight=embedding.weight.detach()[index])
    if tied:
        head.weight = smaller.weight
    else:
        head.weight = torch.nn.Parameter(head.weight.detach()[index])
    head.out_features = len(rows)
    model.set_input_embeddings(smaller)
    model.config.vocab_size = len(rows)
    return model


def restore(model: Any, tokenizer: Any, full_model: Any, full_tokenizer: Any) -> Any:
    """Put a trimmed model, fine-tuned or not, back into the vocabulary of the model it came from.

    The pieces themselves say which row is whose, so nothing but the two models is needed. Tokens that were cut off have
    the rows of the full model.

    Args:
        model: The trimmed model.
        tokenizer: Its tokenizer.
        full_model: The model it was trimmed from, which is changed in place.
        full_tokenizer: Its tokenizer.

    Returns:
        ``full_model`` with the weights of ``model``.

    Raises:
        ModelError: ``model`` was not trimmed from it.
    """
    place, own = full_tokenizer.get_vocab(), tokenizer.get_vocab()
    pieces = sorted(own, key=own.__getitem__)  # the tokenizer's own order differs from run to run
    foreign = next((piece for piece in pieces if piece not in place), None)
    if foreign is not None:
        raise ModelError(f"the full model has no token '{foreign}'; give the model that this one was trimmed from")
    weights, full = model.state_dict(), full_model.state_dict()
    rows = torch.tensor([place[piece] for piece in pieces])
    for name in sorted(set(weights) | set(full)):
        fits = name in weights and name in full and _fits(weights[name].shape, full[name].shape, len(rows))
        if not fits:
            raise ModelError(f"the weights '{name}' do not fit; give the model that this one was trimmed from")
    with torch.no_grad():
        for name, weight in full.items():
            if weight.shape == weights[name].shape:
                weight.copy_(weights[name])
            else:
                weight[rows] = weights[name]
    return full_model


def _fits(trimmed: Sequence[int], full: Sequence[int], rows: int) -> bool:
    return trimmed == full or (trimmed[0] == rows and trimmed[1:] == full[1:])
