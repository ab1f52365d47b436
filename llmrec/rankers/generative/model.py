"""A small T5 over the codes of items: how it is built, what it loses, and what it makes of a session."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from llmrec.arrays import Floats, Ints
from llmrec.errors import require
from llmrec.rankers.generative.beams import Decode
from llmrec.rankers.generative.semantic_ids import PAD
from llmrec.rankers.generative.settings import TigerSettings

__all__ = ["build_model", "decoder_of", "own_weights", "summed_loss"]

_TIED = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight")  # are shared.weight


def build_model(settings: TigerSettings, num_tokens: int) -> Any:
    """A T5 with random weights; input and output vectors of a token are one."""
    require("transformers", "generate")
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=num_tokens,
        d_model=settings.embedding_size,
        d_kv=settings.embedding_size // settings.num_heads,
        d_ff=settings.inner_size,
        num_layers=settings.num_layers,
        num_decoder_layers=settings.num_layers,
        num_heads=settings.num_heads,
        dropout_rate=settings.dropout_prob,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        eos_token_id=None,
        tie_word_embeddings=True,
        use_cache=False,
    )
    return T5ForConditionalGeneration(config)


def own_weights(model: Any) -> dict[str, Tensor]:
    """The model's weights, those that are another's left out."""
    return {name: value for name, value in model.state_dict().items() if name not in _TIED}


def summed_loss(model: Any, inputs: Tensor, targets: Tensor) -> Tensor:
    """Sum over examples of the cross-entropy of an item's tokens.

    Args:
        model: Of `build_model`.
        inputs: Tokens that are read, shape ``(B, T)``.
        targets: Tokens of the item that followed, shape ``(B, L)``.
    """
    started = functional.pad(targets[:, :-1], (1, 0), value=PAD)
    found = model(input_ids=inputs, attention_mask=(inputs != PAD).long(), decoder_input_ids=started, use_cache=False)
    return functional.cross_entropy(found.logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")


def decoder_of(model: Any, inputs: Ints) -> Decode:
    """What continues sessions, whose tokens ``(S, T)`` are read once."""
    from transformers.modeling_outputs import BaseModelOutput

    device = next(model.parameters()).device
    read = torch.from_numpy(inputs).to(device)
    mask = (read != PAD).long()
    states = model.get_encoder()(input_ids=read, attention_mask=mask).last_hidden_state

    def decode(rows: Ints, tokens: Ints) -> Floats:
        of = torch.from_numpy(rows).to(device)
        started = np.concatenate([np.full((len(tokens), 1), PAD), tokens], axis=1)
        found = model(
            encoder_outputs=BaseModelOutput(last_hidden_state=states[of]),
            attention_mask=mask[of],
            decoder_input_ids=torch.from_numpy(started).to(device),
            use_cache=False,
        )
        likely: Floats = functional.log_softmax(found.logits[:, -1].float(), dim=-1).cpu().numpy()
        return likely

    return decode
