"""Models without their weights: built from a config, in no memory, to be counted and measured."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSeq2SeqLM, MT5Config

from llmrec.errors import ModelError, nearest
from llmrec.titles.models.gguf_header import is_gguf, read_header
from llmrec.titles.models.gguf_model import config_of
from llmrec.titles.settings import GenerateConfig

__all__ = ["Architecture", "build_hollow", "known_models", "read_architecture", "runnable"]

KNOWN = Path(__file__).with_name("known_models.yaml")


@dataclass(frozen=True)
class Architecture:
    """What a model is made of.

    Attributes:
        name: As given.
        source: Where its sizes come from, for people.
        config: Configuration of `transformers`.
        own_head: Whether the output matrix is another one than the embedding, against what the configuration says.
    """

    name: str
    source: str
    config: Any
    own_head: bool = False


@cache
def known_models() -> dict[str, dict[str, Any]]:
    """Sizes of the models whose configs are typed in here, by hub name."""
    content: dict[str, dict[str, Any]] = yaml.safe_load(KNOWN.read_text(encoding="utf-8"))
    return content


def read_architecture(config: GenerateConfig) -> Architecture:
    """Architecture of the model that a recipe starts from: typed in here, a folder's own, a GGUF file's, or the hub's.

    Raises:
        ModelError: none of them has it.
    """
    name = config.base_model
    if name == "tiny":
        width, layers = config.tiny_width, config.tiny_layers
        sizes = {
            "d_model": width,
            "d_kv": 32,
            "d_ff": 2 * width,
            "num_layers": layers,
            "num_heads": max(1, width // 32),
        }
        return Architecture(name, "the recipe", MT5Config(vocab_size=config.tiny_vocab, dropout_rate=0.0, **sizes))
    known = known_models().get(name)
    if known:
        built = AutoConfig.for_model(known["model_type"], **known["config"])
        return Architecture(name, "sizes typed in from its public config", built, known.get("head") == "own")
    if is_gguf(name):
        return Architecture(name, f"the header of {name}", config_of(read_header(Path(name))))
    try:
        return Architecture(name, f"{name}/config.json", AutoConfig.from_pretrained(name, trust_remote_code=False))
    except Exception as error:  # the libraries below raise a dozen kinds for a bad file or no network
        raise ModelError(
            f"{name}: neither a model folder nor one that the hub gives here{nearest(name, known_models())}"
        ) from error


def build_hollow(architecture: Architecture, dtype: torch.dtype) -> Any:
    """The model without its weights, to be counted; they are on torch's device ``meta``."""
    family = AutoModelForSeq2SeqLM if architecture.config.is_encoder_decoder else AutoModelForCausalLM
    with torch.device("meta"):
        model = family.from_config(architecture.config, dtype=dtype)
        if architecture.own_head:  # transformers 5 ties every mT5 that it builds itself
            model.lm_head.weight = torch.nn.Parameter(torch.empty_like(model.lm_head.weight))
    return model


@contextmanager
def runnable(model: Any) -> Iterator[None]:
    """Inside, a hollow model runs as on a CPU, though no tensor has any content: its weights have shapes there.

    On ``meta`` itself it would not run: attention masks are looked at, which tensors that only pretend allow.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        made: dict[int, Any] = {}  # tied weights stay one
        for part in model.modules():
            for tensors in (part._parameters, part._buffers):
                for name, old in tensors.items():
                    if old is not None:
                        tensors[name] = made.setdefault(id(old), _pretending(old))
        yield


def _pretending(old: torch.Tensor) -> torch.Tensor:
    new = torch.empty(old.shape, dtype=old.dtype, device="cpu")
    return torch.nn.Parameter(new, old.requires_grad) if isinstance(old, torch.nn.Parameter) else new
