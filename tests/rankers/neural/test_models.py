"""Session models: RecBole's numbers from RecBole's weights, and forward passes worked by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from llmrec.rankers.neural.models.base import SessionModel
from llmrec.rankers.neural.models.core import CoreModel
from llmrec.rankers.neural.models.gru4recf import Gru4RecFModel
from llmrec.rankers.neural.models.mgs import MgsModel
from llmrec.rankers.neural.models.narm import NarmModel
from llmrec.rankers.neural.models.shared_attributes import AttributeNeighbours
from llmrec.rankers.neural.models.srgnn import SrGnnModel, session_graph
from llmrec.rankers.neural.models.srgnnf import SrGnnFModel
from llmrec.rankers.neural.settings import CoreSettings, Gru4RecSettings, MgsSettings, NarmSettings
from tests.rankers.neural.stock_models import NumberFeatures, stock_loss, stock_model

NUM_ITEMS, DIM, LENGTH = 30, 8, 7


def random_sessions(batch: int = 64, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Sessions of 1 to 7 items of few, so that items repeat, and targets."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, LENGTH + 1, (batch,), generator=generator)
    items = torch.randint(1, 6, (batch, LENGTH), generator=generator)
    targets = torch.randint(1, NUM_ITEMS + 1, (batch,), generator=generator)
    return items * (torch.arange(LENGTH) < lengths[:, None]), lengths, targets


CORE_SETTINGS = {
    "n_layers": 2,
    "n_heads": 2,
    "inner_size": 16,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "initializer_range": 0.02,
    "dnn_type": "trm",
    "sess_dropout": 0.0,
    "item_dropout": 0.0,
    "temperature": 0.07,
}
NO_DROPOUT: dict[str, Any] = {"sess_dropout": 0.0, "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0}


def make_pair(name: str) -> tuple[SessionModel, Any]:
    """Our model and RecBole's, without dropout, ours with the weights of RecBole's."""
    ours: SessionModel
    if name == "SRGNN":
        stock = stock_model(name, NUM_ITEMS + 1, embedding_size=DIM, step=2)
        ours = SrGnnModel(NUM_ITEMS, DIM, step=2)
    elif name == "NARM":
        stock = stock_model(
            name, NUM_ITEMS + 1, embedding_size=DIM, hidden_size=12, n_layers=1, dropout_probs=[0.0, 0.0]
        )
        ours = NarmModel(NUM_ITEMS, NarmSettings(embedding_size=DIM, hidden_size=12, dropout_probs=(0.0, 0.0)))
    else:
        stock = stock_model(name, NUM_ITEMS + 1, LENGTH, embedding_size=DIM, **CORE_SETTINGS)
        ours = CoreModel(
            NUM_ITEMS, CoreSettings(embedding_size=DIM, history=LENGTH, n_layers=2, inner_size=16, **NO_DROPOUT)
        )
    ours.load_state_dict(stock.state_dict())
    return ours, stock


@pytest.mark.parametrize("name", ["SRGNN", "NARM", "CORE"])
def test_recboles_weights_give_recboles_vectors_loss_and_gradients(name: str) -> None:
    ours, stock = make_pair(name)
    item_seq, lengths, targets = random_sessions()
    vectors, items = ours.encode(item_seq, lengths), ours.item_vectors()
    if name == "CORE":  # unit vectors over a temperature: RecBole inside the model, we outside
        logits = functional.normalize(vectors, dim=1) @ functional.normalize(items, dim=1).T / 0.07
        theirs = stock(item_seq)
        torch.testing.assert_close(functional.normalize(vectors, dim=1), theirs, atol=1e-6, rtol=0)
    else:
        logits = vectors @ items.T
        torch.testing.assert_close(vectors, stock(item_seq, lengths), atol=1e-6, rtol=0)
    loss, stocks = functional.cross_entropy(logits, targets), stock_loss(stock, item_seq, lengths, targets)
    torch.testing.assert_close(loss, stocks, atol=1e-6, rtol=1e-6)
    loss.backward()
    stocks.backward()
    theirs = dict(stock.named_parameters())
    for key, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, theirs[key].grad, atol=2e-6, rtol=1e-4, msg=key)


@pytest.mark.parametrize("name", ["SRGNN", "NARM", "CORE"])
def test_our_weights_load_into_recbole(name: str) -> None:
    ours, stock = make_pair(name)
    stock.load_state_dict(ours.state_dict())


def feature_model(name: str) -> SessionModel:
    """A model with features of random numbers, that draws and drops nothing."""
    rng = np.random.default_rng(0)
    text = {"text": rng.normal(size=(NUM_ITEMS + 1, 5)).astype(np.float32)}
    attributes = {"attributes": rng.integers(0, 4, (NUM_ITEMS + 1, 3)).astype(np.int32)}
    models: dict[str, SessionModel] = {
        "GRU4RecF": Gru4RecFModel(
            NUM_ITEMS, Gru4RecSettings(embedding_size=DIM, hidden_size=12, dropout_prob=0.0), text
        ),
        "SRGNNF": SrGnnFModel(NUM_ITEMS, DIM, 2, features=text),
        "MGS": MgsModel(NUM_ITEMS, MgsSettings(embedding_size=DIM, hops=2), attributes),
    }
    return models[name].eval()


@pytest.mark.parametrize("name", ["SRGNN", "NARM", "CORE", "GRU4RecF", "SRGNNF", "MGS"])
def test_padding_and_the_rest_of_the_batch_change_nothing(name: str) -> None:
    ours = make_pair(name)[0] if name in ("SRGNN", "NARM", "CORE") else feature_model(name)
    item_seq, lengths, _ = random_sessions(batch=8)
    together = ours.encode(item_seq, lengths)
    for row in range(len(item_seq)):
        alone = ours.encode(item_seq[row : row + 1, : lengths[row]], lengths[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-6, rtol=0)


def test_session_graph_joins_repeated_items() -> None:
    # 5 → 3 → 5 → 7: the second 5 is the first one's node, so that the edges are 0 → 1, 1 → 0, 0 → 3.
    nodes, edges = session_graph(torch.tensor([[5, 3, 5, 7, 0], [4, 4, 0, 0, 0]]))
    assert nodes.tolist()[0][:4] == [0, 1, 0, 3]
    assert edges[0].nonzero().tolist() == [[0, 1], [0, 3], [1, 0]]
    assert nodes.tolist()[1][:2] == [0, 0]
    assert edges[1].nonzero().tolist() == [[0, 0]]  # a repeated item leads to itself


def test_gru4recf_adds_up_its_text_as_recbole_adds_up_numbers() -> None:
    # RecBole's sequence of numbers: number t times a learned vector t, added up. Ours: the same as one matrix.
    ours = feature_model("GRU4RecF")
    text = ours.item_text.text
    stock = stock_model(
        "GRU4RecF",
        NUM_ITEMS + 1,
        dataset=NumberFeatures(NUM_ITEMS + 1, LENGTH, text),
        embedding_size=DIM,
        hidden_size=12,
        num_layers=1,
        dropout_prob=0.0,
        selected_features=["text"],
        pooling_mode="sum",
    )
    weights = stock.state_dict()
    table = weights.pop("feature_embed_layer.float_seq_embedding_table.item.0.weight")
    ours.load_state_dict(weights | {"item_text.projection.weight": table[1:].T})  # row 0 of the table is padding
    item_seq, lengths, targets = random_sessions()
    vectors = ours.encode(item_seq, lengths)
    torch.testing.assert_close(vectors, stock(item_seq, lengths), atol=1e-6, rtol=0)
    loss = functional.cross_entropy(vectors @ ours.item_vectors().T, targets)
    torch.testing.assert_close(loss, stock_loss(stock, item_seq, lengths, targets), atol=1e-6, rtol=1e-6)


def zeroed(model: SessionModel, **values: list[list[float]] | list[float] | float) -> SessionModel:
    """The model with every weight 0 but those given, by their names with ``__`` for the dots."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
        weights = dict(model.named_parameters())
        for name, value in values.items():
            weights[name.replace("__", ".")].copy_(torch.tensor(value))
    return model.eval()


def test_srgnnf_matches_the_value_worked_by_hand() -> None:
    model = zeroed(
        SrGnnFModel(2, 1, features={"text": np.array([[0, 0], [1, 0], [0, 1]], dtype=np.float32)}),
        item_embedding__weight=[[0.0], [1.0], [2.0]],
        item_text__projection__weight=[[3.0, 5.0]],
        linear_three__weight=[[1.0, 1.0]],
        linear_transform__weight=[[1.0, 10.0, 100.0, 1000.0]],
    )
    # Nodes start as [item, title]: [1, 3] and [2, 5]. A graph network of zeros gives candidates of tanh 0 = 0 and
    # updates of sigmoid 0 = 1/2: nodes [.5, 1.5] and [1, 2.5]. Each weighs 1/2 + 1/2 = 1: together [1.5, 4], the last
    # [1, 2.5], and 1.5 + 10 · 4 + 100 · 1 + 1000 · 2.5.
    assert model.encode(torch.tensor([[1, 2]]), torch.tensor([2])).item() == pytest.approx(2641.5)


def hand_mgs(**changes: Any) -> SessionModel:
    """Items of rows 1 to 4, worth 1, 2, 3 and 5; 1, 3 and 4 share an attribute, 2 has none."""
    settings = MgsSettings(embedding_size=1, history=2, **changes)
    return zeroed(
        MgsModel(4, settings, {"attributes": np.array([[0], [7], [0], [7], [7]])}),
        item_embedding__weight=[[0.0], [1.0], [2.0], [3.0], [5.0]],
        mirror__combine__weight=[[1.0]],
        session_rounds__0__edge_vectors=[[0.0], [math.log(3) / 2], [0.0], [0.0]],
        mirror_rounds__0__node_query__weight=[[0.1]],
        mirror_rounds__0__mirror_key__weight=[[1.0]],
        positions__weight=[[0.0], [1.0]],
        attend_mirror__weight=[[math.log(3) / 2]],
        attend__weight=[[2.0]],
    )


def test_mgs_matches_the_value_worked_by_hand() -> None:
    model = hand_mgs(samples=1, mu=0.8)
    # Session 1 → 2, newest first: nodes 2 and 1. Mirrors: of item 1 the mean of 3 and 5 = 4, of item 2 nothing = 0.
    # Session round: node 2 weighs itself e^0 = 1 and node 1, an edge out, e^(2 · 1 · ln 3 / 2) = 3: (2 + 3) / 4 = 1.25.
    # Node 1 weighs both alike: 1.5. Mirror round: node 1 takes .1 · 1.5 · 4 = .6 of 4 − 1.5: 3; node 2 takes 0: 1.25.
    # Mirrors mix evenly: 2 and 2. Highway of sigmoid 0 = 1/2: (2 + 1.25) / 2 = 1.625 and (1 + 3) / 2 = 2.
    # With positions 1.625 and 3; each weighs 2 · sigmoid(2 · ln 3 / 2) = 2 · 3/4: 1.5 · 4.625 = 6.9375.
    # The last item's share is .8 / 2: 6.9375 + .4 · (1.625 − 6.9375).
    assert model.encode(torch.tensor([[1, 2]]), torch.tensor([2])).item() == pytest.approx(4.8125)


def test_contrastive_loss_matches_the_value_worked_by_hand() -> None:
    model = hand_mgs(samples=2, phi=0.1, contrast_temperature=16 / math.log(3))
    # Both mirrors of item 1 are 4, of item 2 they are 0. Item 1: likeness 16 / t = ln 3 with itself, 0 with the other:
    # −ln(3/4). Item 2: 0 and 0: −ln(1/2). A session of one item has nothing to be unlike: 0.
    expected = 0.1 * (math.log(4 / 3) + math.log(2))
    loss = model.auxiliary_loss(torch.tensor([[1, 2], [1, 0]]), torch.tensor([2, 1]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_neighbours_share_the_attribute_and_are_distinct() -> None:
    attributes = np.array([[0, 0], *[[1 + row % 3, row % 2] for row in range(20)]])
    neighbours = AttributeNeighbours(attributes)
    items = torch.arange(1, 21)
    for rng, count in ((True, 4), (False, 4), (True, 50)):
        found, there = neighbours(items, count, rng)
        for item, by_kind, present in zip(items.tolist(), found.tolist(), there.tolist(), strict=True):
            for kind in range(2):
                drawn = [one for one, is_there in zip(by_kind[kind], present[kind], strict=True) if is_there]
                group = {row for row in range(1, 21) if attributes[row, kind] == attributes[item, kind]} - {item}
                assert len(drawn) == len(set(drawn))
                assert set(drawn) <= (group if attributes[item, kind] else set())
                if count == 50 and attributes[item, kind]:
                    assert set(drawn) == group  # a group that is smaller than the draw comes whole
    same = [neighbours(items, 4, False)[0].tolist() for _ in range(2)]
    assert same[0] == same[1]


def test_mgs_learns_from_its_contrastive_loss() -> None:
    model = feature_model("MGS").train()
    item_seq, lengths, _ = random_sessions()
    model.auxiliary_loss(item_seq, lengths).backward()
    assert model.mirror.combine.weight.grad.abs().sum() > 0
    assert model.highway.weight.grad is None  # mirrors alone are compared


@pytest.mark.parametrize("name", ["SRGNN", "NARM", "CORE", "GRU4RecF", "SRGNNF", "MGS"])
def test_bfloat16_gives_like_vectors_and_gradients(name: str) -> None:
    ours = make_pair(name)[0] if name in ("SRGNN", "NARM", "CORE") else feature_model(name)
    item_seq, lengths, _ = random_sessions()
    exact = ours.encode(item_seq, lengths)
    with torch.autocast("cpu", torch.bfloat16):
        rough = ours.encode(item_seq, lengths)
        extra = ours.auxiliary_loss(item_seq, lengths) if isinstance(ours, MgsModel) else 0.0
    assert functional.cosine_similarity(exact, rough.float()).min() > 0.98
    (rough.float().square().sum() + extra).backward()
    assert torch.isfinite(ours.item_embedding.weight.grad).all()
