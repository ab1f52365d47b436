"""An mT5 as the hub has it, of a few kilobytes: ``spiece.model`` with a `T5Tokenizer`, and a head that is not tied."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from transformers import MT5Config, MT5ForConditionalGeneration, T5Tokenizer


def make_hub_mt5(folder: Path, texts: Sequence[str], pieces: int, spare_rows: int = 0, **more: Any) -> tuple[Any, Any]:
    """A model of random weights and a tokenizer of ``texts``; so far ``spiece.model`` alone is in the new folder."""
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_prefix=str(folder / "spiece"),
        vocab_size=pieces,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
        **more,
    )
    tokenizer = T5Tokenizer.from_pretrained(folder, extra_ids=0)
    torch.manual_seed(0)
    settings = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    config = MT5Config(vocab_size=len(tokenizer) + spare_rows, dropout_rate=0.0, **settings)
    model = MT5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(0.1 * torch.randn_like(model.lm_head.weight))  # built, it is tied
    return model, tokenizer
