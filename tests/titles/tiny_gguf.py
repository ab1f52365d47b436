"""A model of `transformers` as a GGUF file, as llama.cpp's converter writes it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGMLQuantizationType, GGUFWriter, get_tensor_name_map, quantize

KINDS = {"gemma3_text": "gemma3"}


def write_gguf(
    file: Path, model: Any, tokenizer: Any, *, stored: str = "F32", leave_out: tuple[str, ...] = (), **values: Any
) -> Path:
    """Write a model and its byte-level BPE tokenizer.

    Args:
        file: Where to.
        model: Of `transformers`.
        tokenizer: Its tokenizer.
        stored: Type of the matrices: ``F32``, ``BF16``, ``Q8_0`` …
        leave_out: Names of tensors and values that are not written.
        values: Further metadata, or other values of it, with ``__`` for a dot.
    """
    config = model.config
    kind = KINDS.get(config.model_type, config.model_type)
    written: dict[str, Any] = {
        f"{kind}.context_length": config.max_position_embeddings,
        f"{kind}.block_count": config.num_hidden_layers,
        f"{kind}.embedding_length": config.hidden_size,
        f"{kind}.feed_forward_length": config.intermediate_size,
        f"{kind}.attention.head_count": config.num_attention_heads,
        f"{kind}.attention.head_count_kv": config.num_key_value_heads,
        f"{kind}.attention.key_length": config.head_dim,
        f"{kind}.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "general.license": "apache-2.0",
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": tokenizer.eos_token_id,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": tokenizer.chat_template,
        **({f"{kind}.attention.sliding_window": config.sliding_window} if "gemma" in kind else {}),
        **{name.replace("__", "."): value for name, value in values.items()},
    }
    writer = GGUFWriter(str(file), written.pop("general.architecture", kind))
    for name, value in written.items():
        if value is not None and name not in leave_out:
            _add(writer, name, value)
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    pieces = sorted(state["vocab"], key=state["vocab"].get)
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    writer.add_token_list(pieces)
    writer.add_token_types([3 if piece in special else 1 for piece in pieces])
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    _add_tensors(writer, kind, model, stored, leave_out)
    for step in ("header", "kv_data", "tensors"):
        getattr(writer, f"write_{step}_to_file")()
    writer.close()
    return file


def _add(writer: GGUFWriter, name: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(name, value)
    elif isinstance(value, int):
        writer.add_uint32(name, value)
    elif isinstance(value, float):
        writer.add_float32(name, value)
    else:
        writer.add_string(name, value)


def _add_tensors(writer: GGUFWriter, kind: str, model: Any, stored: str, leave_out: tuple[str, ...]) -> None:
    config = model.config
    architecture = next(one for one in MODEL_ARCH if MODEL_ARCH_NAMES[one] == kind)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    for ours, weight in model.named_parameters():
        numbers = weight.detach().float().numpy()
        if kind == "llama" and ("q_proj" in ours or "k_proj" in ours):  # LlamaModel.permute of llama.cpp
            heads = config.num_attention_heads if "q_proj" in ours else config.num_key_value_heads
            pairs = numbers.reshape(heads, 2, numbers.shape[0] // heads // 2, *numbers.shape[1:])
            numbers = pairs.swapaxes(1, 2).reshape(numbers.shape)
        if "gemma" in kind and ours.endswith("norm.weight"):
            numbers = numbers + 1
        name = f"{names.get_name(ours.rpartition('.')[0])}.{ours.rpartition('.')[2]}"
        if name in leave_out:
            continue
        as_it_is = numbers.ndim == 1 or stored == "F32"
        form = GGMLQuantizationType[stored]
        packed = np.ascontiguousarray(numbers) if as_it_is else quantize(numbers, form)
        writer.add_tensor(name, packed, raw_dtype=None if as_it_is else form)
