"""Models of sentence-transformers, by hub name or folder; the only file that knows that package."""

from __future__ import annotations

import copy
import hashlib
import heapq
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer

from llmrec.arrays import Floats
from llmrec.console import busy
from llmrec.errors import ConfigError, ModelError, require
from llmrec.hub.methods import OnHub
from llmrec.memory import free_memory, largest_fitting, require_memory
from llmrec.text.encoders.base import ENCODER, EncoderRecord, encode_texts
from llmrec.text.encoders.learning.trainable import TrainableEncoder
from llmrec.text.encoders.settings import Precision
from llmrec.text.encoders.text_prefixes import prefixes_of

__all__ = [
    "SentenceEncoder",
    "SentenceSettings",
    "TrainableSentenceEncoder",
    "best_precision",
    "load_transformer",
    "sentence_settings",
    "transformer_fingerprint",
]


KIND: Final = "sentence-transformers"
MODEL: Final = "model"
MOST_TOKENS: Final = 512  # of a text, where a model does not say
LONGEST: Final = 8  # texts whose tokens are counted
LONG: Final = 32  # characters of a token, of which hardly any has more
SMALL: Final = 1 << 26  # bytes that nobody is asked about


class SentenceSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the record of a saved model says: its name, the width of its vectors, and its two prefixes."""

    name: str
    dim: Annotated[int, msgspec.Meta(ge=1)]
    query: str
    document: str


@dataclass(frozen=True)
class SentenceEncoder(OnHub):
    """A sentence-transformers model with the prefixes it was trained with.

    Attributes:
        name: What ``--encoder`` called it.
        source: Folder or hub name that its weights are read from.
        model: The model, in the precision it computes in.
        prefixes: Of queries and of documents.
        dim: Width ``D`` of the vectors; where it is below the model's own, the first ``D`` numbers are kept.
        precision: That it computes in.
        batch_size: Texts at once.
        digest: Hash of weights in fp32, tokenizer, settings and prefixes. The precision is no part of it:
            vectors of two precisions are nearly the same and may be searched with each other.
    """

    name: str
    source: str
    model: Any
    prefixes: tuple[str, str]
    dim: int
    precision: str
    batch_size: int
    digest: str

    @classmethod
    def open(
        cls,
        source: str,
        name: str,
        *,
        precision: Precision = "auto",
        dim: int | None = None,
        batch_size: int = 32,
        prefixes: tuple[str, str] | None = None,
    ) -> Self:
        """Load a model.

        Args:
            source: Folder or hub name.
            name: What to call it.
            precision: ``auto`` is bf16 where the processor has it, else fp32.
            dim: Keep only the first numbers of each vector; all where not given.
            batch_size: Texts at once.
            prefixes: Of queries and of documents; the model's own, or those its name is known to want.

        Raises:
            ConfigError: the model's vectors have fewer numbers than ``dim``.
            OSError: the model cannot be read or fetched.
        """
        with busy(f"load {name}"):
            model = load_transformer(source)
        prefixes = prefixes or prefixes_of(f"{name} {_base_name(model)}", model.prompts or {})
        digest = transformer_fingerprint(model, prefixes)
        own = int(model.get_embedding_dimension() or 0)
        if dim is not None and dim > own:
            raise ConfigError(f"--dim {dim}: the vectors of '{name}' have {own} numbers; give {own} or less")
        chosen = best_precision(str(model.device)) if precision == "auto" else precision
        if chosen == "bf16":
            model = model.to(torch.bfloat16)
        elif chosen == "int8":
            from llmrec.text.encoders.onnx import quantized

            model = SentenceTransformer(modules=[quantized(model[0], digest), *list(model)[1:]], device="cpu")
        return cls(name, source, model, prefixes, dim or own, chosen, batch_size, digest)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load what `save` wrote, in fp32: a query is a moment's work.

        Raises:
            ModelError: there is none, or it is damaged.
        """
        record = ENCODER.read(folder)
        settings = sentence_settings(folder, record)
        prefixes = (settings.query, settings.document)
        try:
            encoder = cls.open(
                str(folder / MODEL), settings.name, precision="fp32", dim=settings.dim, prefixes=prefixes
            )
        except Exception as error:
            raise ModelError(f"{folder}: damaged encoder; make it again: llmrec embed PRODUCTS --out DIR") from error
        if encoder.digest != record.fingerprint:
            raise ModelError(f"{folder}: these are not the weights of its encoder.json; make it again: llmrec embed")
        return encoder

    def encode_documents(self, texts: Sequence[str]) -> Floats:
        """Vectors of products' texts, shape ``(N, D)``, each of length 1; 0 for a text of only blanks."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, self.prefixes[1]))

    def encode_queries(self, texts: Sequence[str]) -> Floats:
        """Vectors of what is looked for, with the prefix of queries."""
        return encode_texts(texts, self.dim, lambda filled: self._encode(filled, self.prefixes[0]))

    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, settings, prefixes and width."""
        return hashlib.sha256(f"{self.digest} {self.dim}".encode()).hexdigest()

    def save(self, folder: Path) -> None:
        """Write weights in fp32, tokenizer and prefixes into ``folder``."""
        settings = {"name": self.name, "dim": self.dim, "query": self.prefixes[0], "document": self.prefixes[1]}
        whole = self.model if self.precision == "fp32" else load_transformer(self.source)
        record = {"kind": KIND, "settings": settings, "fingerprint": self.digest}
        with ENCODER.written(folder, record) as temporary:
            whole.save(str(temporary / MODEL), create_model_card=False)

    def _encode(self, texts: list[str], prefix: str) -> Floats:
        clean = [text.encode("utf-8", "replace").decode() for text in texts]  # a tokenizer refuses lone surrogates
        vectors = self.model.encode(
            clean,
            prompt=prefix or None,
            batch_size=self._at_once(clean, prefix),
            convert_to_tensor=True,
            show_progress_bar=False,
        )
        # length 1 again in fp32: bf16 rounds lengths by as much as a hundredth
        whole: Floats = vectors.float().cpu().numpy()[:, : self.dim]
        return whole

    def _at_once(self, texts: list[str], prefix: str) -> int:
        """Texts of a batch: those asked for, or as many of the longest as fit in memory.

        Raises:
            ConfigError: not even one fits.
        """
        each = self._text_bytes(texts, prefix)
        if each * min(len(texts), self.batch_size) < SMALL:
            return self.batch_size
        free = free_memory(self.model.device)
        fitting = largest_fitting(self.batch_size, lambda size: size * each, free)
        if fitting < 1:
            what = f"a vector of a text of {max(map(len, texts)):,} characters by {self.name}"
            require_memory(what, each, free, "take a smaller --encoder, or free some")
        return fitting

    def _text_bytes(self, texts: list[str], prefix: str) -> int:
        """What the longest of some texts takes of memory; 0 of what is no transformer of torch's."""
        settings = getattr(getattr(self.model[0], "auto_model", None), "config", None)
        if settings is None or not hasattr(settings, "intermediate_size"):
            return 0
        most = self.model.max_seq_length or MOST_TOKENS
        # one that is shorter may have more tokens, but seldom many more; none has more than bytes
        longest = [f"{prefix}{text}"[: most * LONG] for text in heapq.nlargest(LONGEST, texts, key=len)]
        tokens = max((len(ids) for ids in self.model.tokenizer(longest)["input_ids"]), default=0)
        tokens = min(tokens, most)
        numbers = 2 * settings.intermediate_size + 4 * settings.hidden_size  # as measured: bench.py work-memory
        if getattr(settings, "_attn_implementation", "eager") == "eager":
            numbers += 3 * settings.num_attention_heads * tokens
        return int(4 * tokens * numbers)


class TrainableSentenceEncoder(TrainableEncoder):
    """A sentence-transformers model that learns, wholly or by matrices of low rank beside its own (LoRA)."""

    def __init__(self, source: str, name: str, texts: list[str], lora_rank: int = 0) -> None:
        """Load a model.

        Args:
            source: Folder or hub name.
            name: What to call it.
            texts: Of the products it learns with.
            lora_rank: Rank of the matrices; 0 learns every weight.
        """
        super().__init__()
        self.model, self.name, self.source = load_transformer(source), name, source
        self.prefixes = prefixes_of(f"{name} {_base_name(self.model)}", self.model.prompts or {})
        self.texts, self.num_items = texts, len(texts)
        self._adapted: list[Any] = []  # peft's handle on the matrices that it puts into the model's own layers
        if lora_rank:
            peft = require("peft", "text")
            config = peft.LoraConfig(r=lora_rank, lora_alpha=2 * lora_rank, target_modules="all-linear")
            self._adapted = [peft.get_peft_model(self.model[0].auto_model, config)]

    def forward(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Vectors of products, shape ``(len(items), D)``, each of length 1."""
        features = self.model.preprocess([self.texts[place] for place in items], prompt=self.prefixes[1] or None)
        device = self.model.device
        given = {key: value.to(device) if hasattr(value, "to") else value for key, value in features.items()}
        vectors: torch.Tensor = self.model(given)["sentence_embedding"]
        return torch.nn.functional.normalize(vectors.float(), dim=1)

    def encoder(self) -> SentenceEncoder:
        """The model as it is now, its low-rank matrices added to its own."""
        model, adapted = copy.deepcopy((self.model, self._adapted))
        for one in adapted:
            one.merge_and_unload()
        model = model.cpu().eval()
        digest = transformer_fingerprint(model, self.prefixes)
        dim = int(model.get_embedding_dimension() or 0)
        return SentenceEncoder(self.name, self.source, model, self.prefixes, dim, "fp32", 32, digest)


def sentence_settings(folder: Path, record: EncoderRecord) -> SentenceSettings:
    """Settings that the record of a saved model holds.

    Raises:
        ModelError: they are others.
    """
    with ENCODER.understood(folder):
        return msgspec.convert(record.settings, SentenceSettings)


def load_transformer(source: str) -> Any:
    """A sentence-transformers model in fp32, with no code but this library's own."""
    device = None if torch.cuda.is_available() else "cpu"
    return SentenceTransformer(source, device=device, trust_remote_code=False, model_kwargs={"dtype": "float32"}).eval()


def best_precision(device: str) -> Literal["fp32", "bf16"]:
    """The quickest precision whose vectors differ little from fp32's, on this device."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & _cpu_flags() else "fp32"


def transformer_fingerprint(model: Any, prefixes: tuple[str, str]) -> str:
    """Hash of a model's weights, tokenizer, modules and prefixes, wherever it was read from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().numpy()).data)
    parts = [[type(module).__name__, _settings_of(module)] for module in model]
    digest.update(json.dumps([parts, model.max_seq_length, prefixes], sort_keys=True, default=str).encode())
    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if hasattr(backend, "to_str"):
        digest.update(json.dumps(json.loads(backend.to_str())["model"], sort_keys=True).encode())
    return digest.hexdigest()


def _settings_of(module: Any) -> Any:
    """What a module behind the transformer was set to: the kind of pooling, a projection's shape."""
    known = ("pooling_mode", "include_prompt", "embedding_dimension", "in_features", "out_features")
    return {name: getattr(module, name) for name in known if isinstance(getattr(module, name, None), str | int | bool)}


def _base_name(model: Any) -> str:
    """Name that the model's configuration gives itself, for a folder that was renamed."""
    return str(getattr(getattr(getattr(model[0], "auto_model", None), "config", None), "_name_or_path", ""))


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    return set(next((line for line in lines if line.startswith("flags")), "").split())
