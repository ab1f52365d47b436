"""MGS (Lai et al., SIGIR 2022): a session's graph, and its mirror of items that share attributes.

Every item of a session has a mirror node, which attention makes of items with the same brand, colour, price bin …; both
graphs refine each other; a contrastive loss asks that two mirrors of one item, made of different neighbours, be more
like each other than like the mirrors of the session's other items.

Built from the paper's description, and checked against its authors' published program for what the description leaves
open. Departures: neighbours are drawn as runs of a shuffled group instead of independent samples, and outside of
training the same ones each time (a session's list must not change from call to call); an item without any neighbour has
a mirror of zeros for that attribute; the contrastive softmax is over the session's own items, without the padding; one
dropout rate serves both of its places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from llmrec.rankers.neural.models.base import PADDING, SessionModel
from llmrec.rankers.neural.models.places import Places, places_of
from llmrec.rankers.neural.models.shared_attributes import AttributeNeighbours
from llmrec.rankers.neural.models.srgnn import session_graph, uniform_start
from llmrec.rankers.neural.settings import MgsSettings

__all__ = ["MgsModel", "Mirror", "MirrorRound", "SessionRound"]

_SLOPE = 0.2  # of every leaky ReLU


class Mirror(nn.Module):
    """Mirror nodes: for each attribute attention of an item over its neighbours, then all attributes as one vector.

    Args:
        dim: Width ``D`` of a node.
        kinds: Number ``A`` of attributes.
        dropout: Share of a mirror's values that training drops.
    """

    def __init__(self, dim: int, kinds: int, dropout: float) -> None:
        super().__init__()
        self.own = nn.Linear(dim, kinds, bias=False)
        self.neighbour = nn.Parameter(torch.empty(kinds, dim))
        self.combine = nn.Linear(kinds * dim, dim, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, table: nn.Embedding, items: Tensor, neighbours: Tensor, there: Tensor) -> Tensor:
        """Mirrors ``(T, D)`` of items ``(T,)`` from neighbours ``(T, A, C)``, those that are ``there``.

        The vectors of all neighbours, ``(T, A, C, D)``, are never held: each distinct one is looked up once for its
        part of the attention, and the weighted sums are taken straight from the table.
        """
        distinct, places = torch.unique(neighbours, return_inverse=True)
        kinds = torch.arange(neighbours.shape[1], device=items.device)[:, None]
        heard = (table(distinct) @ self.neighbour.T)[places, kinds]
        scores = functional.leaky_relu(self.own(table(items)).unsqueeze(2) + heard, _SLOPE)
        weights = torch.softmax(scores.masked_fill(~there, torch.finfo(scores.dtype).min), dim=2) * there
        by_kind = functional.embedding_bag(
            neighbours.flatten(0, 1),
            table.weight,
            per_sample_weights=weights.flatten(0, 1).to(table.weight.dtype),
            mode="sum",
            sparse=table.sparse,
        )
        mirrors: Tensor = self.dropout(self.combine(by_kind.view(len(items), -1)))
        return mirrors


class SessionRound(nn.Module):
    """Attention of each node over itself and its neighbours in the session, with a vector for each kind of edge.

    Args:
        dim: Width ``D`` of a node.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.edge_vectors = nn.Parameter(torch.empty(4, dim))  # to itself, only out, only in, both ways

    def forward(self, nodes: Tensor, kinds: Tensor) -> Tensor:
        """Nodes ``(B, L, D)`` after a round; ``kinds`` ``(B, L, L)``: 0 to 3 as the vectors, -1 for no edge."""
        scores = torch.einsum("bld,kd,bmd->bklm", nodes, self.edge_vectors, nodes)
        chosen = scores.gather(1, kinds.clamp(min=0).unsqueeze(1)).squeeze(1)
        chosen = functional.leaky_relu(chosen, _SLOPE).masked_fill(kinds < 0, torch.finfo(chosen.dtype).min)
        return torch.softmax(chosen, dim=2) @ nodes


class MirrorRound(nn.Module):
    """Nodes take over from their mirrors; mirrors are mixed by how much they are like the nodes.

    Args:
        dim: Width ``D`` of a node.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.node_query, self.mirror_key, self.mirror_query, self.node_key = (
            nn.Linear(dim, dim, bias=False) for _ in range(4)
        )

    def forward(self, nodes: Tensor, mirrors: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Nodes and mirrors ``(B, L, D)`` after a round; ``present`` ``(B, L)`` says where a node is."""
        root = math.sqrt(nodes.shape[2])
        taken = (self.node_query(nodes) * self.mirror_key(mirrors)).sum(dim=2, keepdim=True) / root
        nodes = nodes + taken * (mirrors - nodes)
        scores = self.mirror_query(mirrors) @ self.node_key(nodes).transpose(1, 2) / root
        scores = scores.masked_fill(~present.unsqueeze(1), torch.finfo(scores.dtype).min)
        return nodes, torch.softmax(scores, dim=2) @ mirrors


class MgsModel(SessionModel):
    """MGS over the attributes that products have.

    Args:
        num_items: Number ``N`` of items.
        settings: Width of an item, length of a session, and what `MgsSettings` adds; a mirror is made of two draws of
            ``samples`` neighbours of an item and attribute each.
        features: ``attributes`` of `llmrec.rankers.attributes.attribute_features`.
    """

    def __init__(self, num_items: int, settings: MgsSettings, features: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        dim, hops = settings.embedding_size, settings.hops
        self.samples, self.mu, self.phi = settings.samples, settings.mu, settings.phi
        self.temperature = settings.contrast_temperature
        self.item_embedding = nn.Embedding(num_items + 1, dim, padding_idx=PADDING)
        self.positions = nn.Embedding(settings.history, dim)
        self.neighbours = AttributeNeighbours(features["attributes"])
        self.mirror = Mirror(dim, features["attributes"].shape[1], settings.dropout)
        self.session_rounds = nn.ModuleList(SessionRound(dim) for _ in range(hops))
        self.mirror_rounds = nn.ModuleList(MirrorRound(dim) for _ in range(hops))
        self.highway = nn.Linear(2 * dim, dim, bias=False)
        self.attend_item, self.attend_mirror = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)
        self.attend_last = nn.Linear(dim, dim)
        self.attend = nn.Linear(dim, 1, bias=False)
        self.last_gate = nn.Linear(2 * dim, dim, bias=False)
        self.dropout = nn.Dropout(settings.dropout)
        uniform_start(self, dim)

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Vectors of sessions, as `SessionModel.encode`."""
        nodes, places, edges = _nodes(item_seq, item_seq_len)
        present = nodes != PADDING
        draws = 2 if self.training else 1
        mirror = places.padded(self._mirrors(places.flat(nodes), draws, 2 * self.samples // draws))
        first = refined = self.item_embedding(nodes)
        for session_round, mirror_round in zip(self.session_rounds, self.mirror_rounds, strict=True):
            refined = session_round(refined, edges)
            refined, mirror = mirror_round(refined, mirror, present)
        gate = torch.sigmoid(self.highway(torch.cat([first, refined], dim=2)))
        return self._read_out(refined + gate * (first - refined), mirror, present)

    def auxiliary_loss(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Contrastive loss of two mirrors of each item, times `phi`, added up over the batch; a scalar."""
        nodes, places, _ = _nodes(item_seq, item_seq_len)
        items = places.flat(nodes)
        one, two = (places.padded(self._mirrors(items, 1, self.samples)) for _ in range(2))
        present = nodes != PADDING
        likeness = one @ two.transpose(1, 2) / self.temperature
        likeness = likeness.masked_fill(~present.unsqueeze(1), torch.finfo(likeness.dtype).min)
        missed = -torch.log_softmax(likeness, dim=2).diagonal(dim1=1, dim2=2)
        return self.phi * missed.masked_fill(~present, 0.0).sum()

    def _mirrors(self, items: Tensor, draws: int, count: int) -> Tensor:
        drawn = [self.neighbours(items, count, self.training) for _ in range(draws)]
        found, there = (torch.cat(parts, dim=2) for parts in zip(*drawn, strict=True))
        mirrors: Tensor = self.mirror(self.item_embedding, items, found, there)
        return mirrors

    def _read_out(self, nodes: Tensor, mirrors: Tensor, present: Tensor) -> Tensor:
        last = nodes[:, 0]  # the newest item comes first
        placed = nodes + self.positions((present.cumsum(dim=1) - 1).clamp(min=0))
        query = self.attend_item(placed) + self.attend_mirror(mirrors) + self.attend_last(last).unsqueeze(1)
        weights = self.attend(torch.sigmoid(query)) * present.unsqueeze(2)
        overall = (weights * placed).sum(dim=1)
        share = torch.sigmoid(self.last_gate(torch.cat([overall, last], dim=1))) * self.mu
        vectors: Tensor = self.dropout(overall + share * (last - overall))
        return vectors


def _nodes(item_seq: Tensor, item_seq_len: Tensor) -> tuple[Tensor, Places, Tensor]:
    """Items of sessions without repetition, the newest first.

    Returns:
        Their rows, shape ``(B, L)``, `PADDING` where an item repeats a newer one; the places of items; and the kind of
        edge between two nodes, shape ``(B, L, L)``, as `SessionRound` reads it.
    """
    back = item_seq_len.unsqueeze(1) - 1 - torch.arange(item_seq.shape[1], device=item_seq.device)
    newest_first = item_seq.gather(1, back.clamp(min=0)).masked_fill(back < 0, PADDING)
    first, edges = session_graph(newest_first)
    here = torch.arange(item_seq.shape[1], device=item_seq.device)
    nodes = newest_first.masked_fill(first != here, PADDING)
    kinds = edges.long() + 2 * edges.transpose(1, 2).long()
    kinds = kinds.masked_fill(kinds == 0, -1)
    kinds[:, here, here] = 0
    return nodes, places_of(nodes), kinds
