"""What writing titles takes of memory, so that as many sessions are decoded at once as fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from accelerate.utils import gather_object

from llmrec.memory import free_memory, require_memory
from llmrec.processes import local_processes

__all__ = ["decoding_room", "session_bytes"]

SHARE: Final = 0.9  # of what is there; an allocator cannot use all blocks again
LOGITS: Final = (
    4  # float32 rows of the vocabulary that a beam has at once: logits, their softmax, scores, what is chosen
)


def session_bytes(model: Any, *, max_tokens: int, num_beams: int = 1) -> Callable[[int], int]:
    """Bytes that one session of a batch takes beside the model, by the tokens of its batch's longest prompt.

    Counted are keys and values of all layers (and one layer's again, while beams change places), the logits of a step,
    and the widest layer's numbers while the prompt is read: by an encoder once and before there are keys, by a causal
    model for each beam. `python scripts/bench.py work-memory` compares it with what was taken.

    Args:
        model: A `transformers` sequence-to-sequence or causal model.
        max_tokens: Most tokens of a title.
        num_beams: Beams.
    """
    settings = model.config.get_text_config()
    width, heads = settings.hidden_size, settings.num_attention_heads
    head = getattr(settings, "d_kv", None) or getattr(settings, "head_dim", None) or width // heads
    inner = getattr(settings, "d_ff", None) or getattr(settings, "intermediate_size", None) or 4 * width
    number = next(iter(model.parameters())).element_size()
    number = number if number > 1 else 2  # of 4-bit weights
    both = model.config.is_encoder_decoder
    layers = (getattr(settings, "num_decoder_layers", None) if both else None) or settings.num_hidden_layers
    cached = 2 * head * (getattr(settings, "num_key_value_heads", None) or heads) * number  # of a token and layer
    logits = LOGITS * 4 * settings.vocab_size * num_beams

    def takes(length: int) -> int:
        written = (layers + 2) * cached * num_beams * (length + max_tokens) + logits
        if not both:
            return int(written + num_beams * length * (number * (3 * inner + 6 * width) + 8 * length))
        # position biases make T5 hold its attention scores, three times while the softmax is taken
        read = length * (number * (max(3 * inner, 3 * heads * length) + 6 * width) + 8 * length)
        return int(max(read, written + num_beams * length * number * width))

    return takes


def decoding_room(accelerator: Any, takes: Callable[[int], int], longest: int) -> float:
    """Bytes that a batch may take on each device, the same on all.

    Args:
        accelerator: `accelerate.Accelerator`; every process calls this.
        takes: From `session_bytes`.
        longest: Tokens of the longest prompt.

    Raises:
        ConfigError: not even one such session fits.
    """
    free = free_memory(accelerator.device).shared(1 if accelerator.device.type == "cuda" else local_processes())
    free = free._replace(size=int(SHARE * free.size))
    if accelerator.num_processes > 1:
        free = min(gather_object([free]), key=lambda one: one[0])
    way_out = "give a shorter --max-source-tokens, --num-beams 1 or --decode-precision bf16, or free some"
    require_memory(f"writing one title after {longest:,} tokens", takes(longest), free, way_out)
    return free.size
