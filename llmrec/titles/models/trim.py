"""Vocabulary trimming: a model that knows the tokens of one shop alone, and the way back.

Four fifths of mT5-small are the 250,112 rows of its embedding and of its head, and two thirds of Gemma 3 270M are
262,144 rows; a catalogue uses some ten thousand. A trimmed model gives the tokens it has kept the scores that the full
one gives them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
from llmrec.titles.models.causal import is_causal
from llmrec.titles.models.cut_tokenizer import kept_tokens, trim_tokenizer, used_tokens
from llmrec.titles.prompting.affixes import build_affixes
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
        model: A model of T5's family, or a causal one.
        tokenizer: Its fast Unigram or BPE tokenizer.
        store: Whose products are read, all of them; titles are read, no sessions.
        prompts: What the model is going to read.
        frequent: Number of the most frequent pieces to keep whether used or not.

    Returns:
        The model and the new tokenizer.

    Raises:
        ModelError: the model or its tokenizer is of another kind.
    """
    _check_kind(model)
    used = used_tokens(tokenizer, catalogue_texts(store, prompts))
    if is_causal(model):
        used[_framing(tokenizer)] = True
    kept = kept_tokens(tokenizer, used, frequent)
    return select_rows(model, kept), trim_tokenizer(tokenizer, kept)


def _framing(tokenizer: Any) -> list[int]:
    """Tokens around a causal model's prompts: bare, and as turns of its chat template, whose words are kept too."""
    template = getattr(tokenizer, "chat_template", None)
    frames = [build_affixes(tokenizer, chat=chat) for chat in ((False, True) if template else (False,))]
    words = tokenizer(template or "", add_special_tokens=False)["input_ids"]
    return [*words, *(token for frame in frames for token in (*frame.before, *frame.after))]


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


def _check_kind(model: Any) -> None:
    if not is_causal(model) and model.config.model_type not in ("t5", "mt5", "umt5"):
        raise ModelError(
            f"only a causal model or one of T5's family can be trimmed; this one is '{model.config.model_type}'"
        )


def select_rows(model: Any, rows: Indices) -> Any:
    """Keep some rows of a model's embedding and head, in place; a tied head stays tied.

    Args:
        model: A model of T5's family, or a causal one.
        rows: Shape ``(V,)``; rising token ids; of T5's family the padding and the end token (0 and 1) first.

    Raises:
        ModelError: it is another kind of model, or 0 and 1 are left out.
    """
    _check_kind(model)
    ends = {model.config.pad_token_id, model.config.eos_token_id}
    if not is_causal(model) and (rows[:2].tolist() != [0, 1] or ends != {0, 1}):
        raise ModelError("the padding and the end token must be tokens 0 and 1, as in all of T5's family")
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied, index = head.weight is embedding.weight, torch.from_numpy(rows)
    number = {int(before): after for after, before in enumerate(rows)}
    embedding.weight = torch.nn.Parameter(embedding.weight.detach()[index])  # Gemma's module also scales
    head.weight = embedding.weight if tied else torch.nn.Parameter(head.weight.detach()[index])
    if head.bias is not None:
        head.bias = torch.nn.Parameter(head.bias.detach()[index])
    embedding.num_embeddings = head.out_features = len(rows)
    embedding.padding_idx = number.get(embedding.padding_idx)
    model.set_input_embeddings(embedding)  # T5's encoder and decoder have modules of their own
    for part in (model.config, model.config.get_text_config(), *model.modules()):
        if hasattr(part, "vocab_size"):
            part.vocab_size = len(rows)
    for settings in (model.config, model.generation_config):
        _renumber(settings, number)
    return model


def _renumber(settings: Any, number: Mapping[int, int]) -> None:
    """Give the tokens that a configuration names their new numbers; those that are gone it names no more."""
    for name, value in list(vars(settings).items()):
        if name.endswith("_token_id") and isinstance(value, int):
            setattr(settings, name, number.get(value))
        elif name.endswith(("_token_id", "_tokens")) and isinstance(value, list):
            setattr(settings, name, [number[token] for token in value if token in number])


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
