"""GGUF, the files of llama.cpp and Ollama: unpacked once into a folder of this user's cache, then read as any model."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from safetensors.torch import save_file

from llmrec.console import notice, track
from llmrec.errors import LlmrecError, ModelError, shown
from llmrec.files import known_sha256, user_cache
from llmrec.memory import free_memory, require_memory
from llmrec.output import atomic_folder, disk_errors
from llmrec.processes import is_first_process, local_processes
from llmrec.titles.models.architectures import Architecture, build_hollow
from llmrec.titles.models.gguf_header import Header, is_gguf, read_header
from llmrec.titles.models.gguf_model import config_of, decoding_of, names_of, tokenizer_of, weight_of

__all__ = ["gguf_stamp", "unpacked"]

FORM: Final = 1  # counts up when the same file gives another folder
NAMES: Final = {torch.float32: "fp32", torch.bfloat16: "bf16"}
OPEN: Final = re.compile(r"(apache|mit|bsd|isc|cc0|cc-by-\d|cc-by-sa|unlicense|wtfpl|zlib)", re.IGNORECASE)


def gguf_stamp(name: str | Path | None) -> dict[str, Any]:
    """What a run is to say of a model in a GGUF file: ``gguf``, with its name and SHA-256; nothing of any other."""
    if name is None or not is_gguf(name):
        return {}
    return {"gguf": {"file": Path(name).name, "sha256": known_sha256(Path(name))}}


def unpacked(path: Path, dtype: torch.dtype) -> Path:
    """Folder with the model of a GGUF file as `transformers` reads it: weights, tokenizer, chat template.

    It is made at the first use and kept in this user's cache (``$XDG_CACHE_HOME/llmrec/gguf``, or under ``~/.cache``),
    named after the file's SHA-256 and the type of its numbers. A second process waits for the first.

    Args:
        path: The file.
        dtype: `torch.float32` or `torch.bfloat16`.

    Raises:
        ConfigError: the weights are more than the memory that is free.
        DiskError: the cache cannot be written.
        MissingExtraError: the package `gguf` is not installed.
        ModelError: it is no GGUF file, cut short, or of a kind that is not read here.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such file; give the path of a .gguf file")
    digest, cache = known_sha256(path), user_cache("gguf")
    folder = cache / f"{digest[:32]}-{NAMES[dtype]}-{FORM}"
    if folder.is_dir():
        return folder
    header = read_header(path)
    with _alone(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            try:
                with atomic_folder(folder) as temporary:
                    _unpack(header, dtype, temporary)
            except LlmrecError:
                raise
            except Exception as error:  # tokenizers and gguf raise a dozen kinds for what they do not expect
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ModelError(f"{path}: cannot be read ({reason}); serve it, and use --server") from error
            _tell_terms(header)
    if known_sha256(path) != digest:
        raise ModelError(f"{path}: was changed while it was read; give the command again")
    return folder


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process is within; the death of one lets the next in."""
    with disk_errors(lock):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _unpack(header: Header, dtype: torch.dtype, folder: Path) -> None:
    config, names = config_of(header), names_of(header)
    hollow = build_hollow(Architecture(str(header.path), "", config), dtype)
    wanted = {name: tuple(weight.shape) for name, weight in hollow.named_parameters()}
    for name, shape in wanted.items():
        there = header.tensors[names[name]].shape if name in names else None
        if there != shape:
            raise ModelError(
                f"{header.path}: its settings ask for {name} of shape {shape}, and it has {there or 'none'}; "
                "download it again"
            )
    if odd := sorted(names.keys() - wanted.keys()):
        raise ModelError(f"{header.path}: holds {shown(odd[0])}, which its kind has no place for; a server may read it")
    sizes = [one.elements for one in header.tensors.values()]
    needed = torch.finfo(dtype).bits // 8 * sum(sizes) + 12 * max(sizes)
    way_out = "take a smaller model, or let a server run it: --server"
    require_memory(f"unpacking {header.path.name}", needed, free_memory().shared(local_processes()), way_out)
    tokenizer, content = tokenizer_of(header), np.memmap(header.path, mode="r", dtype=np.uint8)
    shown_names = track(list(wanted), f"unpack {header.path.name}", total=len(wanted))
    weights = {name: _weight(header, names[name], content, dtype) for name in shown_names}
    config.dtype, config.architectures = dtype, [type(hollow).__name__]
    config.save_pretrained(folder)
    decoding_of(header).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    for file in folder.iterdir():
        file.chmod(0o600)
    folder.chmod(0o700)


def _weight(header: Header, name: str, content: Any, dtype: torch.dtype) -> torch.Tensor:
    """A tensor's numbers; a downloader may give a file its size first, and leave holes of zeros when it is stopped.

    Raises:
        ModelError: they are none, or a matrix of zeros.
    """
    weight = weight_of(header, name, content).to(dtype).contiguous()
    hole = weight.ndim > 1 and not weight.any()
    if hole or not weight.isfinite().all():
        held = "nothing but zeros, as a download that was stopped" if hole else "numbers that are not finite"
        raise ModelError(f"{header.path}: {name} holds {held}; download it again")
    return weight


def _tell_terms(header: Header) -> None:
    """Say once, as the file is unpacked, that a model comes under terms of its own."""
    values: Mapping[str, Any] = header.values
    told = [values.get(f"general.license{part}") for part in ("", ".name", ".link")]
    terms = [str(one) for one in told if isinstance(one, str) and one]
    if terms and not OPEN.match(terms[0]) and is_first_process():
        notice(f"{header.path.name} comes under terms of its own ({', '.join(terms)}); read them before you use it")
