"""A GGUF file's model in the terms of `transformers`: configuration, tokenizer, and weights by their names there."""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
import torch
from tokenizers import pre_tokenizers, processors
from transformers import AutoConfig, GenerationConfig, LlamaConfig, PreTrainedTokenizerFast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from llmrec.errors import ModelError, shown, without_panic
from llmrec.titles.models.gguf_header import Header, Tensor

__all__ = ["config_of", "decoding_of", "names_of", "tokenizer_of", "weight_of"]

KINDS: Final = {"llama": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gemma3": "gemma3_text"}
SETTINGS: Final = {
    "context_length": "max_position_embeddings",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "embedding_length": "hidden_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.sliding_window": "sliding_window",
}
LARGEST: Final = 1 << 24  # of a setting: Llama 4 reads ten million tokens
PARTS: Final = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "attn_norm": "input_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "ffn_norm": "post_attention_layernorm",
}
GEMMA: Final = {  # four norms a layer
    "post_attention_norm": "post_attention_layernorm",
    "ffn_norm": "pre_feedforward_layernorm",
    "post_ffw_norm": "post_feedforward_layernorm",
}
WHOLE: Final = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
FREQUENCIES: Final = "rope_freqs.weight"  # of Llama 3.1 and later, where transformers has four numbers in the config
BY_DIGITS: Final = ("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b")


def config_of(header: Header) -> Any:
    """The configuration, of numbers that no file can make absurd: layers and vocabulary are those of its tensors.

    Raises:
        ModelError: the file's is of a kind that is not read here, or cannot be.
    """
    architecture = header.architecture
    if architecture not in KINDS:
        raise ModelError(
            f"{header.path}: a model of the kind {shown(architecture)}; {', '.join(KINDS)} are read here, others by a "
            "server (llama.cpp, Ollama): --server URL"
        )
    embedding = header.tensors.get("token_embd.weight")
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    if embedding is None or len(embedding.shape) != 2 or header.own("block_count") != len(layers):
        raise ModelError(f"{header.path}: its layers or its embeddings are not all there; download it again")
    settings = {new: header.own(old) for old, new in SETTINGS.items() if header.own(old) is not None}
    for name, value in settings.items():
        number = isinstance(value, float if name == "rms_norm_eps" else int) and not isinstance(value, bool)
        if not number or not 0 < value <= LARGEST:
            raise ModelError(f"{header.path}: {name} is {shown(value)}, which no model has; download it again")
    settings.setdefault("num_key_value_heads", settings.get("num_attention_heads"))
    if (missing := {"hidden_size", "intermediate_size", "num_attention_heads"} - settings.keys()) or (
        "head_dim" not in settings and settings["hidden_size"] % settings["num_attention_heads"]
    ):
        raise ModelError(f"{header.path}: does not say its {min(missing, default='head_dim')}; download it again")
    settings.setdefault("head_dim", settings["hidden_size"] // settings["num_attention_heads"])
    return AutoConfig.for_model(
        KINDS[architecture],
        vocab_size=embedding.shape[0],
        tie_word_embeddings="output.weight" not in header.tensors,
        rope_parameters=_positions(header, settings["head_dim"]),
        **{name: _token(header, name) for name in ("bos_token_id", "eos_token_id")},
        **({"layer_types": _gemma_layers(architecture, len(layers))} if "gemma" in architecture else {}),
        **settings,
    )


def _gemma_layers(architecture: str, number: int) -> list[str]:
    """Which layers look at everything: every second in Gemma 2, every sixth in Gemma 3."""
    every = 2 if architecture == "gemma2" else 6
    return ["sliding_attention" if (layer + 1) % every else "full_attention" for layer in range(number)]


def _positions(header: Header, head_dim: int) -> dict[str, Any]:
    """How positions are told, for ``rope_parameters``.

    Raises:
        ModelError: in a way that is not read here; the model would write nonsense of long prompts.
    """
    base, factor = header.own("rope.freq_base", 10_000.0), header.own("rope.scaling.factor", 1.0)
    kind = header.own("rope.scaling.type", "none")
    if not all(isinstance(one, float) and 0 < one <= 1e12 for one in (base, factor)):
        raise ModelError(f"{header.path}: its positions have the base {shown(base)}; download it again")
    told: dict[str, Any] = {"rope_type": "default", "rope_theta": base}
    if kind == "linear" and factor != 1:
        told = {"rope_type": "linear", "factor": factor, "rope_theta": base}
    elif kind not in ("none", "linear"):
        raise ModelError(f"{header.path}: scales positions by {shown(kind)}, which a server reads: --server URL")
    if FREQUENCIES in header.tensors:
        told = _llama3(header, base, head_dim)
    if header.architecture != "gemma3":
        return told
    return {"full_attention": told, "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0}}


def _llama3(header: Header, base: float, head_dim: int) -> dict[str, Any]:
    """The four numbers of Llama 3 that give the file's frequencies; the file has only those.

    Raises:
        ModelError: they give others.
    """
    tensor = header.tensors[FREQUENCIES]
    plain = 1 / base ** (torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if tensor.elements == len(plain):
        content = np.memmap(header.path, mode="r", dtype=np.uint8)
        divided = _dequantized(tensor, content).flatten().double()
        told = {
            "rope_type": "llama3",
            "rope_theta": base,
            "factor": float(divided.max()),
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        }
        config = LlamaConfig(hidden_size=head_dim, num_attention_heads=1, rope_parameters=told)
        found = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))[0]
        if torch.allclose(found.double(), plain / divided, rtol=1e-3):
            return told
    raise ModelError(f"{header.path}: its {FREQUENCIES} are not those of Llama 3; let a server run it: --server URL")


def _token(header: Header, name: str) -> int | None:
    """A token of those that a file names: ``eos_token_id`` …"""
    told = {"unk_token_id": "unknown_token_id", "pad_token_id": "padding_token_id"}.get(name, name)
    token = header.values.get(f"tokenizer.ggml.{told}")
    if token is None:
        return None
    if not isinstance(token, int) or not 0 <= token < len(_pieces(header)):
        raise ModelError(f"{header.path}: {told} is {shown(token)}, and no such token is there; download it again")
    return token


def _pieces(header: Header) -> list[str]:
    pieces, rows = header.values.get("tokenizer.ggml.tokens"), header.tensors["token_embd.weight"].shape[0]
    if not isinstance(pieces, list) or not 0 < len(pieces) <= rows or not all(isinstance(one, str) for one in pieces):
        raise ModelError(f"{header.path}: has no tokenizer of its {rows:,} tokens; download it again")
    return pieces


def decoding_of(header: Header) -> GenerationConfig:
    """Tokens for ``generation_config.json``; a chat model's turn may end otherwise than a text.

    Raises:
        ModelError: one of them is no token of the file.
    """
    ends = [_token(header, name) for name in ("eos_token_id", "eot_token_id", "eom_token_id")]
    known = list(dict.fromkeys(one for one in ends if one is not None))
    first, pad = _token(header, "bos_token_id"), _token(header, "pad_token_id")
    return GenerationConfig(eos_token_id=known or None, bos_token_id=first, pad_token_id=pad)


def tokenizer_of(header: Header) -> Any:
    """The file's tokenizer, split as its ``tokenizer.ggml.pre`` says, with its chat template.

    Raises:
        ModelError: its pieces, scores or kinds are none.
        Exception: what `tokenizers` and `transformers` raise for pieces that make no tokenizer.
    """
    from transformers.integrations.gguf import GGUF_TOKENIZER_MAPPING, convert_gguf_tokenizer

    values = header.values
    known = {old: values.get(f"tokenizer.{new}") for new, old in GGUF_TOKENIZER_MAPPING["tokenizer"].items()}
    known = {name: value for name, value in known.items() if value is not None} | {"tokens": _pieces(header)}
    for name, kind in (("merges", str), ("scores", float), ("token_type", int)):
        if name in known and not (isinstance(known[name], list) and all(isinstance(one, kind) for one in known[name])):
            raise ModelError(f"{header.path}: tokenizer.ggml.{name} is no list of them; download it again")
    with without_panic():
        backend, _ = convert_gguf_tokenizer(header.architecture, known)
        if known.get("pre_tokenizer_type") in BY_DIGITS:  # transformers 5.23 leaves digits together, as GPT-2 does
            backend.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
            )
        tokens = {
            f"{name}_token": known["tokens"][token]
            for name in ("bos", "eos", "unk", "pad")
            if (token := _token(header, f"{name}_token_id")) is not None
        }
        first = tokens.get("bos_token")
        if first and values.get("tokenizer.ggml.add_bos_token", known.get("tokenizer_type") == "llama"):
            backend.post_processor = processors.TemplateProcessing(
                single=[first, "$A"], pair=[first, "$A", "$B"], special_tokens=[(first, _token(header, "bos_token_id"))]
            )
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, clean_up_tokenization_spaces=False, **tokens)
    template = values.get("tokenizer.chat_template")
    if isinstance(template, str):
        tokenizer.chat_template = template  # text; what renders it does so within limits
    return tokenizer


def names_of(header: Header) -> dict[str, str]:
    """Names of the file's tensors by those that `transformers` has; a name that it has none for stays as it is."""
    return {_renamed(header, name): name for name in header.tensors if name != FREQUENCIES}


def _renamed(header: Header, name: str) -> str:
    """What `transformers` calls a tensor; a name that it has none for stays as it is."""
    found = re.fullmatch(r"blk\.(\d+)\.(\w+)\.(weight|bias)", name)
    if found is None:
        return WHOLE.get(name, name)
    part = ({**PARTS, **GEMMA} if "gemma" in header.architecture else PARTS).get(found[2])
    return f"model.layers.{found[1]}.{part}.{found[3]}" if part else name


def weight_of(header: Header, name: str, content: Any) -> torch.Tensor:
    """A tensor in float32, as `transformers` has it: llama.cpp turns a Llama's heads and adds one to Gemma's norms.

    Args:
        header: Of the file.
        name: The tensor's name in it.
        content: The file's bytes, mapped.
    """
    weight = _dequantized(header.tensors[name], content)
    part = name.split(".")[-2]
    if header.architecture == "llama" and part in ("attn_q", "attn_k"):
        heads = header.own("attention.head_count")
        heads = header.own("attention.head_count_kv", heads) if part == "attn_k" else heads
        pairs = weight.reshape(heads, weight.shape[0] // heads // 2, 2, *weight.shape[1:])
        return pairs.swapaxes(1, 2).reshape(weight.shape)
    return weight - 1 if "gemma" in header.architecture and part.endswith("_norm") else weight


def _dequantized(tensor: Tensor, content: Any) -> torch.Tensor:
    from gguf import dequantize
    from gguf.constants import GGMLQuantizationType

    stored = content[tensor.start : tensor.start + tensor.size].reshape(*tensor.shape[:-1], -1)
    numbers = dequantize(stored, GGMLQuantizationType(tensor.kind))
    return torch.from_numpy(np.array(numbers, dtype=np.float32)).reshape(tensor.shape)
