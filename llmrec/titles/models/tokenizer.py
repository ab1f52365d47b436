"""A SentencePiece tokenizer of mT5's kind, trained on a store's own titles."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from llmrec.console import busy
from llmrec.errors import ConfigError, DataError

__all__ = ["build_tokenizer"]


def build_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """Train a unigram SentencePiece model and load it as a fast tokenizer with T5's special tokens.

    Unknown characters are spelled by bytes, as in mT5, so no title holds an unknown token.

    Args:
        texts: What to learn the pieces from.
        vocab_size: Largest number of pieces; a small text gives fewer.

    Returns:
        A `transformers.PreTrainedTokenizerFast` with pad 0, end 1, unknown 2; every text it encodes ends with the end.

    Raises:
        DataError: there is no text to learn from.
        ConfigError: ``vocab_size`` is smaller than the number of characters.
    """
    lines = [text for text in texts if text.strip()]
    if not lines:
        raise DataError("no title to build a tokenizer from; the store's products have no titles")
    model = io.BytesIO()
    try:
        with busy(f"tokenizer of {len(lines):,} titles"):
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                vocab_size=vocab_size,
                hard_vocab_limit=False,
                model_type="unigram",
                character_coverage=0.9995,
                byte_fallback=True,
                shuffle_input_sentence=False,  # its shuffle has no fixed seed
                max_sentence_length=16_384,
                pad_id=0,
                eos_id=1,
                unk_id=2,
                bos_id=-1,
                num_threads=1,  # more of them make the pieces depend on their timing
                minloglevel=2,
            )
    except RuntimeError as error:  # more characters than pieces
        reason = " ".join(str(error).split())
        raise ConfigError(f"--tiny-vocab {vocab_size} is too small for these titles ({reason}); give more") from error
    return _fast_tokenizer(model.getvalue())


def _fast_tokenizer(serialized: bytes) -> Any:
    """Rebuild a SentencePiece unigram model in `tokenizers`.

    `transformers.T5Tokenizer` (5.23) would load it with byte fallback off, and spell unknown characters as `<unk>`.
    """
    proto = sentencepiece_model_pb2.ModelProto.FromString(serialized)
    vocabulary = [(piece.piece, piece.score) for piece in proto.pieces]
    tokenizer = Tokenizer(Unigram(vocabulary, unk_id=2, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Precompiled(proto.normalizer_spec.precompiled_charsmap),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
