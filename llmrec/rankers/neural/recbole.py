"""RecBole's model classes, built from plain settings: the only file that knows RecBole.

RecBole's own Config, trainer, data loading and checkpoints are left out; they read the command line, patch numpy and
unpickle files. Its model classes need a mapping, an object that knows the number of items, and nothing else.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn

from llmrec.errors import MissingExtraError
from llmrec.rankers.neural.models.base import PADDING, SessionModel

__all__ = ["RecBoleModel"]


class _Config(dict[str, Any]):
    """What RecBole's classes read settings from: a missing one is None."""

    def __missing__(self, key: str) -> None:
        return None


class _ItemsOnly:
    """What RecBole's classes read of a data set: the number of items with padding, and the longest session."""

    def __init__(self, num_rows: int, max_length: int) -> None:
        self.num_rows = num_rows
        self.field2seqlen = {"item_id_list": max_length}

    def num(self, _field: str) -> int:
        return self.num_rows


class RecBoleModel(SessionModel):
    """One of RecBole's sequential models as a `SessionModel`; its parameters keep their names under ``inner``."""

    def __init__(self, name: str, num_items: int, max_length: int, **settings: Any) -> None:
        """Build a model.

        Args:
            name: RecBole's module, as ``gru4rec``; the class is found by it.
            num_items: ``N``.
            max_length: Most items of a session.
            settings: RecBole's hyper-parameters by their names.

        Raises:
            MissingExtraError: RecBole is not installed.
        """
        super().__init__()
        config = _Config(
            settings,
            USER_ID_FIELD="session_id",
            ITEM_ID_FIELD="item_id",
            LIST_SUFFIX="_list",
            ITEM_LIST_LENGTH_FIELD="item_length",
            NEG_PREFIX="neg_",
            MAX_ITEM_LIST_LENGTH=max_length,
            device=torch.device("cpu"),
            loss_type="CE",
        )
        self.inner: Any = _model_class(name)(config, _ItemsOnly(num_items + 1, max_length))
        self._reads_lengths = name != "core"
        if name == "gru4rec":
            self.kept_vectors = round(14 * settings["hidden_size"] / settings["embedding_size"])
        with torch.no_grad():  # RecBole's own initialisation fills the row that padding_idx had left empty
            self.inner.item_embedding.weight[PADDING] = 0

    @property
    def item_embedding(self) -> nn.Embedding:  # type: ignore[override]
        """RecBole's own table."""
        table: nn.Embedding = self.inner.item_embedding
        return table

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Vectors of sessions, as `SessionModel.encode` says."""
        arguments = (item_seq, item_seq_len) if self._reads_lengths else (item_seq,)
        encoded: Tensor = self.inner(*arguments)
        return encoded


def _model_class(name: str) -> Any:
    anomaly_mode = torch.is_anomaly_enabled()
    try:
        module = importlib.import_module(f"recbole.model.sequential_recommender.{name}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "recbole":
            raise
        raise MissingExtraError("recbole is not installed; pip install --no-deps recbole==1.2.1") from error
    finally:
        # One of RecBole's models (sine.py) turns on torch's anomaly mode for the whole process when it is imported:
        # every backward pass then looks for NaN in every gradient.
        torch.autograd.set_detect_anomaly(anomaly_mode)
    found = {key.lower(): value for key, value in vars(module).items()}
    return found[name]
