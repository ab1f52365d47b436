"""Tiny encoders of every kind, built on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

TITLES = [
    "USB cable 2 m black",
    "USB cable 1 m white",
    "Kettle 1.7 L steel",
    "Wasserkocher 1,7 L Edelstahl",
    "電気ケトル 1.7L ホワイト",
    "Câble USB tressé 2 m 🔌",
    "Lámpara LED para niños",
    "Мышь беспроводная mouse",
]


def wordpiece(texts: list[str] = TITLES) -> Tokenizer:
    """A word-piece tokenizer with BERT's special tokens: the texts' words, and their characters for all others.

    Written down, not trained: the trainer of `tokenizers` breaks ties by hash, so no two of its vocabularies agree.
    """
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = {word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}
    letters = {letter for word in words for letter in word}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    entries = [*special, *sorted(words | letters), *sorted(f"##{letter}" for letter in letters)]
    vocabulary = {entry: place for place, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
    return tokenizer


def tiny_transformer(folder: Path, prompts: dict[str, str] | None = None, pooling: str = "mean") -> Path:
    """A sentence-transformers folder: a BERT of two layers with drawn weights, and pooling."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    names = {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=wordpiece(), model_max_length=64, **{f"{key}_token": value for key, value in names.items()}
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    plain = folder.with_name(f"{folder.name}-plain")
    BertModel(config).save_pretrained(plain)
    tokenizer.save_pretrained(plain)
    modules = [Transformer(str(plain), max_seq_length=64), Pooling(32, pooling_mode=pooling)]
    model = SentenceTransformer(modules=modules, device="cpu", prompts=prompts)
    model.save(str(folder), create_model_card=False)
    return folder


def tiny_model2vec(folder: Path, weights: bool = False) -> Any:
    """A model2vec folder with drawn vectors; returns the model itself."""
    from model2vec import StaticModel

    tokenizer = wordpiece()
    rng = np.random.default_rng(0)
    size = tokenizer.get_vocab_size()
    drawn = rng.standard_normal((size, 16)).astype(np.float32)
    given = {"weights": rng.random(size).astype(np.float32)} if weights else {}
    model = StaticModel(drawn, tokenizer, {"model_type": "model2vec"}, **given)
    model.save_pretrained(folder)
    return model
