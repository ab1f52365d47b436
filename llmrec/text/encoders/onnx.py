"""int8 on a processor: a transformer exported to ONNX once, its matrices quantised; the only file that knows ONNX."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from llmrec.console import notice
from llmrec.errors import ModelError
from llmrec.files import user_cache
from llmrec.output import atomic_file

__all__ = ["QuantizedTransformer", "cache_folder", "quantized"]


class QuantizedTransformer(torch.nn.Module):
    """Stands in the place of a model's transformer: the same texts in, token vectors out, computed in int8."""

    def __init__(self, transformer: Any, session: Any) -> None:
        super().__init__()
        self._source = [transformer]  # in a list, so that its weights are not this module's
        self.session = session
        self.inputs = [one.name for one in session.get_inputs()]

    def preprocess(self, inputs: Any, **options: Any) -> Any:
        """Tokenise as the transformer does."""
        return self._source[0].preprocess(inputs, **options)

    @property
    def tokenizer(self) -> Any:
        """The transformer's tokenizer."""
        return self._source[0].tokenizer

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        """Add ``token_embeddings``, shape ``(N, L, D)``, to ``input_ids`` and the rest."""
        given = {name: features[name].cpu().numpy() for name in self.inputs}
        (tokens,) = self.session.run(None, given)
        features["token_embeddings"] = torch.from_numpy(tokens)
        return features


def cache_folder() -> Path:
    """Where exported models are kept: ``$XDG_CACHE_HOME/llmrec/onnx``, or under ``~/.cache``."""
    return user_cache("onnx")


def quantized(transformer: Any, digest: str) -> QuantizedTransformer:
    """The int8 form of a sentence-transformers ``Transformer`` module, exported if this is its first use.

    Args:
        transformer: The module, in fp32 on the processor.
        digest: Hash of its weights, which names the exported file.

    Raises:
        ModelError: the model cannot be exported.
        DiskError: the cache cannot be written.
    """
    file = cache_folder() / f"{digest[:32]}-int8.onnx"
    if not file.is_file():
        notice("exporting the encoder to int8 ONNX; it is kept for the next time")
        try:
            with atomic_file(file) as temporary:
                _export(transformer, temporary)
        except (torch.onnx.OnnxExporterError, RuntimeError, ValueError, NotImplementedError) as error:
            reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
            raise ModelError(f"this model cannot be exported to ONNX ({reason}); use --precision bf16") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return QuantizedTransformer(
        transformer, onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    )


class _Plain(torch.nn.Module):
    """A transformer as tensors in, one tensor out."""

    def __init__(self, model: Any, names: list[str]) -> None:
        super().__init__()
        self.model, self.names = model, names

    def forward(self, *tensors: Any) -> Any:
        return self.model(**dict(zip(self.names, tensors, strict=True)), return_dict=True).last_hidden_state


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter from speaking of its own deprecations, of torchvision, and of a step that is no use here."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _export(transformer: Any, target: Path) -> None:
    features = transformer.preprocess(["a title", "another, longer title of a product"])
    names = [name for name in ("input_ids", "attention_mask", "token_type_ids") if name in features]
    example = tuple(features[name] for name in names)
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    plain = _Plain(transformer.auto_model, names).eval()
    with tempfile.TemporaryDirectory(prefix="llmrec-") as scratch, _silence(), torch.inference_mode():
        whole = Path(scratch) / "model.onnx"
        torch.onnx.export(
            plain,
            example,
            str(whole),
            input_names=names,
            output_names=["token_embeddings"],
            dynamic_shapes=(tuple(any_size for _ in names),),
            dynamo=True,
            verbose=False,
        )
        quantize_dynamic(
            str(whole), str(target), weight_type=QuantType.QInt8, op_types_to_quantize=["MatMul"], per_channel=True
        )
