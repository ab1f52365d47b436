"""CTranslate2, a fast decoder for T5 models: int8 on a CPU, 16 bits on a GPU."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Final

from llmrec.errors import ConfigError, ModelError, require
from llmrec.output import atomic_folder

__all__ = ["convert_model", "decode_batch", "decoding_in_its_place", "load_translator", "translator_of"]

EXTRA: Final = "fast"
COMPUTE: Final = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16", "int8": "int8"}
BY_DEVICE: Final = {"cpu": "int8", "cuda": "bf16"}  # mT5 was trained in bf16 and can overflow in fp16


def convert_model(name: str, model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a loaded model in CTranslate2's form; the folder appears whole or not at all.

    Args:
        name: Folder or hub name of the model, for its configuration.
        model: The model.
        tokenizer: Its tokenizer.
        folder: Where to.

    Raises:
        MissingExtraError: CTranslate2 is not installed.
        ModelError: CTranslate2 does not know such a model.
    """
    require("ctranslate2", EXTRA)
    from ctranslate2.converters import TransformersConverter

    class Loaded(TransformersConverter):  # type: ignore[misc]  # which would read the files again
        def load_model(self, *_: Any, **__: Any) -> Any:
            return model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return tokenizer

    with atomic_folder(folder) as temporary:
        try:
            Loaded(name).convert(str(temporary), force=True)
        except (ValueError, NotImplementedError, AttributeError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{name}: CTranslate2 cannot convert it ({reason}); use --backend transformers") from error


def load_translator(folder: Path, device: str, index: int, precision: str, threads: int) -> Any:
    """Load what `convert_model` wrote.

    Args:
        folder: Where it is.
        device: ``cpu`` or ``cuda``.
        index: Number of the GPU.
        precision: ``fp32``, ``bf16``, ``fp16``, ``int8``, or ``auto``: int8 on a CPU, bf16 on a GPU.
        threads: Threads of one batch on a CPU.

    Raises:
        MissingExtraError: CTranslate2 is not installed.
        ConfigError: the device cannot compute in ``precision``.
    """
    ctranslate2 = require("ctranslate2", EXTRA)
    asked = BY_DEVICE.get(device, "fp32") if precision == "auto" else precision
    able = ctranslate2.get_supported_compute_types(device, index)
    if COMPUTE[asked] not in able:
        known = ", ".join(name for name, kind in COMPUTE.items() if kind in able)
        raise ConfigError(f"--decode-precision {asked}: this {device} cannot do it in CTranslate2; it can: {known}")
    return ctranslate2.Translator(
        str(folder), device=device, device_index=index, compute_type=COMPUTE[asked], intra_threads=threads
    )


def translator_of(name: str, model: Any, tokenizer: Any, device: str, threads: int) -> Any:
    """`load_translator` of a loaded model, int8 on a CPU; nothing of it stays on disk."""
    with tempfile.TemporaryDirectory(prefix="llmrec-ctranslate2-") as scratch:
        convert_model(name, model, tokenizer, Path(scratch) / "model")
        kind, _, index = device.partition(":")
        return load_translator(Path(scratch) / "model", kind, int(index or 0), "auto", threads)


def decoding_in_its_place(translator: Any, model: Any, tokenizer: Any) -> Callable[..., list[str]]:
    """`llmrec.titles.decoding.decode.decode_batch` of a model, through its translator.

    CTranslate2 answers a prompt of the end token alone with nothing; the model itself writes the title of a session
    that has none.
    """
    from llmrec.titles.decoding import decode

    untold = cache(partial(decode.decode_batch, model, tokenizer, ((tokenizer.eos_token_id,),)))

    def decoded(prompts: Sequence[Sequence[int]], **limits: Any) -> list[str]:
        titles = decode_batch(translator, tokenizer, prompts, **limits)
        return [title if len(row) > 1 else untold(**limits)[0] for row, title in zip(prompts, titles, strict=True)]

    return decoded


def decode_batch(
    translator: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, max_tokens: int, num_beams: int = 1
) -> list[str]:
    """Titles of some prompts; the counterpart of `llmrec.titles.decoding.decode.decode_batch`.

    Args:
        translator: From `load_translator`.
        tokenizer: Of the model that was converted.
        prompts: Token ids of ``B`` prompts, each ended by the end token.
        max_tokens: Most tokens of a title.
        num_beams: Beams; 1 is greedy.
    """
    results = translator.translate_batch(
        [tokenizer.convert_ids_to_tokens(list(row)) for row in prompts],
        beam_size=num_beams,
        max_input_length=0,
        min_decoding_length=0,  # else it never writes an empty title
        max_decoding_length=max_tokens,
    )
    rows = [tokenizer.convert_tokens_to_ids(result.hypotheses[0]) for result in results]
    return [" ".join(text.split()) for text in tokenizer.batch_decode(rows, skip_special_tokens=True)]
