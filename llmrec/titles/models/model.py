"""Models that write titles: by hub name, by folder, or a tiny mT5 built from a store's own titles."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from msgspec import Meta
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    MT5Config,
    MT5ForConditionalGeneration,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from llmrec.console import busy
from llmrec.errors import ConfigError, ModelError, require, without_panic
from llmrec.files import held_in, known_sha256, sha256_of_all
from llmrec.hub.forms import SOURCE
from llmrec.hub.pull import shared_model
from llmrec.memory import free_memory, require_memory
from llmrec.output import atomic_folder
from llmrec.processes import local_processes, local_rank
from llmrec.records import Count, read_record, record_text
from llmrec.titles.models.architectures import Architecture, build_hollow
from llmrec.titles.models.generation_config import generation_of
from llmrec.titles.models.gguf import unpacked
from llmrec.titles.models.gguf_header import is_gguf
from llmrec.training.devices import name_processor

__all__ = [
    "BASE",
    "ModelCard",
    "ask_for_weights",
    "build_tiny_mt5",
    "check_length",
    "check_weights",
    "checkpoint_activations",
    "fingerprint",
    "load_model",
    "load_tokenizer",
    "model_digest",
    "read_model_card",
    "save_model",
]

CARD = "llmrec.json"
BASE = "base.json"  # beside an adapter: which weights it was trained on
EMBEDDING_STD = 0.08
Tokens = Annotated[int, Meta(ge=1, le=1 << 24)]

transformers_logging.disable_progress_bar()  # its bars for one file of weights would tear ours apart


@dataclass(frozen=True)
class ModelCard:
    """What a model was trained to read, kept beside its weights so that ``--model DIR`` prompts it the same way.

    Attributes:
        prompt: Name of the prompt.
        prompt_hash: SHA-256 of the prompt's file.
        k: Number of most recent titles in a prompt.
        max_source_tokens: Prompt length.
        max_target_tokens: Title length.
        chat: Whether a prompt is a turn of the model's chat template (causal models).
    """

    prompt: str
    prompt_hash: str
    k: Count
    max_source_tokens: Tokens
    max_target_tokens: Tokens
    chat: bool = False


def build_tiny_mt5(vocab_size: int, width: int, layers: int, seed: int) -> Any:
    """Build a small mT5 with random weights: gated GELU and relative positions as the real one.

    Its head is tied to the embeddings, as transformers does for every mT5 that is not read from a checkpoint with a
    head of its own. Embeddings start at a standard deviation of .08, not 1: the optimizer moves every weight by about
    the learning rate a step, which unit-sized ones hardly feel in the minutes that this model has.
    """
    config = MT5Config(
        vocab_size=vocab_size,
        d_model=width,
        d_kv=32,
        d_ff=2 * width,
        num_layers=layers,
        num_decoder_layers=layers,
        num_heads=max(1, width // 32),
        dropout_rate=0.0,  # it sees each session a few times at most: nothing to overfit to
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    ask_for_weights("the tiny model", config, torch.float32)
    torch.manual_seed(seed)
    model = MT5ForConditionalGeneration(config)
    with torch.no_grad():
        model.shared.weight.mul_(EMBEDDING_STD)
    return model


def load_model(name: str, *, dtype: torch.dtype = torch.float32, four_bit: bool = False) -> tuple[Any, Any]:
    """Load a model that writes text and its tokenizer, by hub name or folder, as safetensors and without its code.

    Args:
        name: Folder or hub name of a sequence-to-sequence or a causal model, or a GGUF file, which is unpacked once.
        dtype: Of the weights.
        four_bit: Hold them in 4 bits (`bitsandbytes`, NF4); ``dtype`` is then what they are computed in.

    Returns:
        The model and the tokenizer; a causal model's tokenizer without a padding token pads with its end token.

    Raises:
        ModelError: it is not there, not readable, has weights that are no numbers, or writes no text.
        MissingExtraError: ``four_bit`` and `bitsandbytes` is not installed.
    """
    name_processor()
    if is_gguf(name):
        file = Path(name).resolve()
        folder = unpacked(file, dtype)
        try:
            with busy(f"load {name}"):
                model, tokenizer = _loaded(str(folder), folder, dtype, four_bit, PreTrainedTokenizerFast)
        except ModelError as error:
            raise ModelError(f"{name}: what was unpacked of it is damaged; delete {folder}, and try again") from error
        model.name_or_path = model.config.name_or_path = str(file)  # an adapter remembers the file, not the cache
        tokenizer.name_or_path = str(file)
        return model, tokenizer
    name = shared_model(name)
    folder = Path(name)
    if folder.exists() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{name}: no model here{held_in(folder)} (no config.json in this folder); train one: llmrec generate"
        )
    if four_bit:
        require("bitsandbytes", "lora")
    with busy(f"load {name}"):
        return _loaded(name, folder, dtype, four_bit)


def _loaded(
    name: str, folder: Path, dtype: torch.dtype, four_bit: bool, tokenizers: Any = AutoTokenizer
) -> tuple[Any, Any]:
    kind = "language"
    source = str(folder.resolve()) if folder.exists() else name  # an adapter remembers it, wherever it is used
    try:
        config = AutoConfig.from_pretrained(source, trust_remote_code=False)
        kind = "sequence-to-sequence" if config.is_encoder_decoder else "causal"
        if config.architectures and not any(one.endswith(_WRITERS) for one in config.architectures):
            raise ValueError(f"{config.architectures[0]} writes no text")
        if not four_bit:  # which go to the GPU, if there is one
            ask_for_weights(name, config, dtype)
        tokenizer = load_tokenizer(name, tokenizers)
        family = AutoModelForSeq2SeqLM if config.is_encoder_decoder else AutoModelForCausalLM
        packed = _four_bit(dtype) if four_bit else {}
        model = family.from_pretrained(
            source, dtype=dtype, trust_remote_code=False, use_safetensors=_has_safetensors(folder), **packed
        )
        model.generation_config = generation_of(model)
    except ConfigError:
        raise
    except Exception as error:  # the libraries below raise a dozen kinds for a bad file
        reason = " ".join(str(error).split())[:200]
        hint = "the folder may be cut short; train it again" if folder.exists() else "check the name and the network"
        raise ModelError(f"{name}: cannot be loaded as a {kind} model ({reason}); {hint}") from error
    check_weights(name, model)
    return model, tokenizer


def check_weights(name: str, model: Any) -> None:
    """Refuse weights that are not finite: whatever is computed with them is nothing, and nobody would tell.

    Raises:
        ModelError: some are; the line names the first.
    """
    for part, weight in model.named_parameters():
        if weight.is_floating_point() and not weight.detach().sum(dtype=torch.float32).isfinite():
            raise ModelError(f"{name}: {part} holds numbers that are not finite; download it again, or train it again")


def ask_for_weights(name: str, config: Any, dtype: torch.dtype) -> None:
    """Refuse a model whose weights alone are more than the memory that is there.

    Raises:
        ConfigError: they are.
    """
    hollow = build_hollow(Architecture(name, "", config), dtype)
    needed = sum(weight.numel() * weight.element_size() for weight in hollow.parameters())
    way_out = "take a smaller model, or --quantize 4bit with --lora-rank"
    require_memory(f"{name}: holding its weights", needed, free_memory().shared(local_processes()), way_out)


_WRITERS = ("ForConditionalGeneration", "ForCausalLM", "LMHeadModel")


def load_tokenizer(name: str, tokenizers: Any = AutoTokenizer) -> Any:
    """Tokenizer of a model or an adapter; one without a padding token pads with its end token.

    `AutoTokenizer` makes what is usual of a model's kind: a GGUF file's own is read by `PreTrainedTokenizerFast`.
    """
    with without_panic():
        tokenizer = tokenizers.from_pretrained(shared_model(name), trust_remote_code=False)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _four_bit(dtype: torch.dtype) -> dict[str, Any]:
    """Settings of QLoRA: 4-bit normal floats, their scales in 8 bits; all of a process's weights on its own device."""
    quantized = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    device = local_rank() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": quantized, "device_map": {"": device}}


def checkpoint_activations(model: Any) -> None:
    """Have a model compute its activations again in the backward pass; works with a frozen base too."""
    enable = getattr(model, "activation_checkpointing_enable", None)  # some transformers 5 have the older name alone
    (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})


def check_length(model: Any, card: ModelCard) -> None:
    """Refuse prompts and titles that a model has no positions for; T5's relative ones have no end.

    Raises:
        ConfigError: the lengths exceed the model's.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    source, target = card.max_source_tokens, card.max_target_tokens
    needed = max(source, target) if model.config.is_encoder_decoder else source + target
    if positions is not None and needed > positions:
        raise ConfigError(
            f"--max-source-tokens {source} with --max-target-tokens {target} needs {needed} positions, and "
            f"{type(model).__name__} has {positions}; give less"
        )


def _has_safetensors(folder: Path) -> bool | None:
    """True for a folder, which must hold safetensors; None for the hub, where mT5 itself has only PyTorch weights.

    transformers loads those with ``weights_only=True``.
    """
    return True if folder.exists() else None


def save_model(
    folder: Path, model: Any, tokenizer: Any, card: ModelCard | None, weights: dict[str, Any] | None = None
) -> None:
    """Write model, tokenizer and card; the folder appears whole or not at all.

    Args:
        folder: Where to.
        model: A `transformers` model.
        tokenizer: Its tokenizer.
        card: What it was trained to read; None for a model that this package did not train.
        weights: The gathered state where a wrapper holds it in parts (ZeRO-3); the model's own if None.
    """
    adapted = hasattr(model, "peft_config")
    with atomic_folder(folder) as temporary:
        if adapted:  # its default asks the hub whether the base's vocabulary has grown
            model.save_pretrained(temporary, state_dict=weights, save_embedding_layers=False)
            (temporary / BASE).write_text(record_text({"fingerprint": fingerprint(model)}), encoding="utf-8")
        else:
            model.save_pretrained(temporary, state_dict=weights)
        tokenizer.save_pretrained(temporary)
        if card is not None:
            (temporary / CARD).write_text(record_text(card), encoding="utf-8")


def fingerprint(model: Any) -> str:
    """SHA-256 of a base model's kind, its norms and biases and some of its embeddings, whether adapted or not.

    These are what neither adapters nor 4-bit storage change; bf16 is the narrowest that they are held in.
    """
    digest = hashlib.sha256(repr([model.config.model_type, model.config.vocab_size]).encode())
    tensors = [weight for name, weight in _plain_names(model) if weight.ndim == 1 and "lora_" not in name]
    for tensor in [model.get_input_embeddings().weight[:256], *tensors]:
        digest.update(tensor.detach().to("cpu", torch.bfloat16).contiguous().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


def _plain_names(model: Any) -> list[tuple[str, Any]]:
    return sorted((name.removeprefix("base_model.model."), weight) for name, weight in model.named_parameters())


def model_digest(name: str) -> str:
    """SHA-256 over the weights, tokenizer and settings in a model's folder; the name itself where it is no folder.

    Raises:
        ModelError: it is a GGUF file that is not there.
    """
    if is_gguf(name):
        if not Path(name).is_file():
            raise ModelError(f"{name}: no such file; give the path of a .gguf file")
        return known_sha256(Path(name))
    known = Path(shared_model(name)).glob("*")
    files = sorted(file for file in known if file.suffix in (".safetensors", ".json") and file.name != SOURCE)
    return sha256_of_all(files) if files else name


def read_model_card(name: str) -> ModelCard | None:
    """Card of a model that this package trained; None for any other model.

    Raises:
        ModelError: the card is not what this version writes.
    """
    file = Path(name if is_gguf(name) else shared_model(name)) / CARD
    if not file.is_file():
        return None
    return read_record(file, ModelCard, "train the model again", error=ModelError)
