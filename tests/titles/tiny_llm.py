"""Tiny causal language models with random weights, on disk as if they came from a hub."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast, Qwen3Config

from llmrec.titles.models.causal import continue_prompts

CHAT = (
    "{% for message in messages %}<|start|>{{ message.role }}\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
SIZE = {
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def bpe_tokenizer(texts: list[str], *, chat: bool = True, pieces: int = 400) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer of the kind that Qwen and Llama have; its end token ends a turn."""
    built = Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=["<|start|>", "<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    built.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=built, eos_token="<|end|>"
    )  # start is special unnamed, as in Llama
    if chat:
        tokenizer.chat_template = CHAT
    return tokenizer


def sentencepiece_bpe(texts: list[str], *, pieces: int = 400) -> PreTrainedTokenizerFast:
    """A BPE tokenizer of Gemma's kind: blanks are letters, bytes spell what no piece can, placeholders wait for use."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<unused0>", "<unused1>"]
    built = Tokenizer(models.BPE())
    built.normalizer = normalizers.Replace(" ", "\u2581")
    built.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=pieces, special_tokens=special, show_progress=False)
    )
    state = json.loads(built.to_str())["model"]
    vocabulary = state["vocab"]
    for number in range(256):
        vocabulary[f"<0x{number:02X}>"] = len(vocabulary)
    merges = [tuple(pair) for pair in state["merges"]]
    built.model = models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    built.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()])
    built.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    names = {f"{name}_token": f"<{name}>" for name in ("pad", "eos", "bos", "unk")}
    return PreTrainedTokenizerFast(tokenizer_object=built, clean_up_tokenization_spaces=False, **names)


def write_tiny_llm(
    folder: Path, texts: list[str], *, kind: str = "qwen3", seed: int = 0, chat: bool = True, width: int = 32
) -> Path:
    """A 2-layer Qwen3 or Llama with its tokenizer."""
    tokenizer = bpe_tokenizer(texts, chat=chat)
    config_class = {"qwen3": Qwen3Config, "llama": LlamaConfig}[kind]
    extra = {"hidden_size": width, "intermediate_size": 2 * width, "head_dim": width // 4}
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(
        config_class(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **SIZE, **extra)
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def talkative(model: Any, tokenizer: Any, prompt: list[int]) -> Any:
    """The model, which now writes a line break where it wrote the token that it comes to behind ``prompt``."""
    (often,) = tokenizer(continue_prompts(model.eval(), tokenizer, [prompt], max_tokens=9)[0])["input_ids"][-1:]
    (line_break,) = tokenizer("\n")["input_ids"]
    model.set_output_embeddings(deepcopy(model.get_output_embeddings()))  # what is read stays as it is
    model.config.tie_word_embeddings = False
    weights = model.get_output_embeddings().weight
    with torch.no_grad():
        weights[line_break] = 1.1 * weights[often]
    return model
