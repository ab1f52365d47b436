"""RecBole's own model classes, built from a plain mapping: what ours are compared with."""

from __future__ import annotations

import importlib
import warnings
from collections import defaultdict
from typing import Any

import torch


class Fields:
    """What a RecBole model asks its dataset: the number of ids and the longest session."""

    def __init__(self, num_rows: int, max_length: int) -> None:
        self.num_rows = num_rows
        self.field2seqlen = {"item_id_list": max_length}

    def num(self, field: str) -> int:
        return self.num_rows


class NumberFeatures(Fields):
    """The same with one item feature, ``text``: a sequence of numbers, each with its place from 1."""

    def __init__(self, num_rows: int, max_length: int, text: torch.Tensor) -> None:
        from recbole.utils import FeatureType

        super().__init__(num_rows, max_length)
        self.config = {"numerical_features": ["text"]}
        self.field2type = {"text": FeatureType.FLOAT_SEQ}
        self.places = torch.arange(1, text.shape[1] + 1).expand_as(text)
        self.text = torch.stack([text, self.places], dim=2)

    def num(self, field: str) -> int:
        return int(self.places.max()) + 1 if field == "text" else self.num_rows

    def get_item_feature(self) -> Any:
        from recbole.data.interaction import Interaction

        return Interaction({"text": self.text})


def stock_model(name: str, num_rows: int, max_length: int = 50, dataset: Any = None, **settings: Any) -> Any:
    """A model of RecBole 1.2.1 with ``num_rows`` items, padding among them."""
    config: defaultdict[str, Any] = defaultdict(lambda: None)
    config |= {
        "USER_ID_FIELD": "session_id",
        "ITEM_ID_FIELD": "item_id",
        "LIST_SUFFIX": "_list",
        "ITEM_LIST_LENGTH_FIELD": "item_length",
        "NEG_PREFIX": "neg_",
        "MAX_ITEM_LIST_LENGTH": max_length,
        "device": torch.device("cpu"),
        "loss_type": "CE",
        **settings,
    }
    anomaly_mode = torch.is_anomaly_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RecBole's own
        module = importlib.import_module(f"recbole.model.sequential_recommender.{name.lower()}")
    torch.autograd.set_detect_anomaly(anomaly_mode)  # one of RecBole's models turns it on when it is imported
    return getattr(module, name)(config, dataset or Fields(num_rows, max_length))


def stock_loss(model: Any, item_seq: torch.Tensor, lengths: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss that RecBole's trainer would take a step on."""
    from recbole.data.interaction import Interaction

    return model.calculate_loss(Interaction({"item_id_list": item_seq, "item_length": lengths, "item_id": targets}))
