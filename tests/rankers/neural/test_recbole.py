"""RecBole's classes as session models, without RecBole's plumbing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from llmrec.errors import MissingExtraError
from llmrec.rankers.neural import recbole
from llmrec.rankers.neural.recbole import RecBoleModel

SETTINGS: dict[str, dict[str, Any]] = {
    "gru4rec": {"embedding_size": 8, "hidden_size": 6, "num_layers": 1, "dropout_prob": 0.1},
    "narm": {"embedding_size": 8, "hidden_size": 6, "n_layers": 1, "dropout_probs": [0.1, 0.1]},
    "stamp": {"embedding_size": 8},
    "srgnn": {"embedding_size": 8, "step": 1},
    "sasrec": {
        "hidden_size": 8,
        "n_layers": 1,
        "n_heads": 2,
        "inner_size": 16,
        "hidden_dropout_prob": 0.1,
        "attn_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": 0.02,
    },
}
SETTINGS["core"] = SETTINGS["sasrec"] | {
    "embedding_size": 8,
    "dnn_type": "trm",
    "sess_dropout": 0.1,
    "item_dropout": 0.1,
    "temperature": 0.07,
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_vector_does_not_depend_on_padding_or_on_other_sessions(name: str) -> None:
    torch.manual_seed(0)
    model = RecBoleModel(name, num_items=20, max_length=10, **SETTINGS[name]).eval()
    together = model.encode(torch.tensor([[1, 2, 0, 0], [3, 4, 5, 3]]), torch.tensor([2, 4]))
    assert together.shape == (2, 8)
    torch.testing.assert_close(model.encode(torch.tensor([[1, 2]]), torch.tensor([2]))[0], together[0])
    assert model.item_vectors().shape == (21, 8)
    assert (model.item_embedding.weight[0] == 0).all()


def test_recbole_leaves_the_process_as_it_was() -> None:
    code = """
import sys, os, torch, numpy
sys.argv = ["program", "--topk=[7]"]
names = set(dir(numpy))
from llmrec.rankers.neural.recbole import RecBoleModel
RecBoleModel("gru4rec", 5, 5, embedding_size=4, hidden_size=4, num_layers=1, dropout_prob=0.1)
print(torch.is_anomaly_enabled(), set(dir(numpy)) - names, "ray" in sys.modules, "recbole.quick_start" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False set() False False"


def test_without_recbole_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(f"No module named '{name}'", name="recbole")

    monkeypatch.setattr(recbole.importlib, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r"pip install --no-deps recbole==1\.2\.1"):
        RecBoleModel("gru4rec", 5, 5)
