"""SR-GNN (Wu et al., AAAI 2019): a session as a small directed graph, its gated graph network and soft attention.

The same parameters, names and numbers as RecBole's ``SRGNN``, which builds the graph of one session after another in
Python (RecBole's issue 1895); here the graphs of a batch are built at once.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from llmrec.rankers.neural.models.base import PADDING, SessionModel
from llmrec.rankers.neural.models.places import places_of

__all__ = ["GatedGraph", "SrGnnModel", "session_graph", "uniform_start"]


def uniform_start(module: nn.Module, width: int) -> None:
    """Draw every parameter from the uniform distribution between ``±1 / sqrt(width)``; rows of no item are 0."""
    bound = 1.0 / math.sqrt(width)
    with torch.no_grad():
        for weight in module.parameters():
            weight.uniform_(-bound, bound)
        for table in module.modules():
            if isinstance(table, nn.Embedding) and table.padding_idx is not None:
                table.weight[table.padding_idx].zero_()


def session_graph(item_seq: Tensor) -> tuple[Tensor, Tensor]:
    """Graphs of sessions: an item is one node, which stands where the item comes first.

    Args:
        item_seq: Rows of items, shape ``(B, L)``, `PADDING` at the end.

    Returns:
        The node of each place, shape ``(B, L)``; whether an edge leads from one node to another, ``(B, L, L)``. A place
        that repeats an earlier item is a node without edges.
    """
    batch, length = item_seq.shape
    nodes = (item_seq.unsqueeze(2) == item_seq.unsqueeze(1)).int().argmax(dim=2)  # the first of several maxima
    edges = torch.zeros(batch, length * length + 1, dtype=torch.bool, device=item_seq.device)
    places = nodes[:, :-1] * length + nodes[:, 1:]
    beyond = item_seq[:, 1:] == PADDING
    edges.scatter_(1, places.masked_fill(beyond, length * length), True)  # the last column takes what is no edge
    return nodes, edges[:, :-1].view(batch, length, length)


class GatedGraph(nn.Module):
    """Gated graph network over session graphs; parameters are named as in RecBole.

    Args:
        width: Width ``D`` of a node.
        step: Number of rounds in which nodes read their neighbours.
    """

    def __init__(self, width: int, step: int) -> None:
        super().__init__()
        self.step = step
        self.w_ih = nn.Parameter(torch.empty(3 * width, 2 * width))
        self.w_hh = nn.Parameter(torch.empty(3 * width, width))
        self.b_ih = nn.Parameter(torch.empty(3 * width))
        self.b_hh = nn.Parameter(torch.empty(3 * width))
        self.b_iah = nn.Parameter(torch.empty(width))
        self.b_ioh = nn.Parameter(torch.empty(width))
        self.linear_edge_in = nn.Linear(width, width)
        self.linear_edge_out = nn.Linear(width, width)

    def forward(self, hidden: Tensor, sources: Tensor, targets: Tensor) -> Tensor:
        """Nodes ``(T, W)`` after `step` rounds; the ``E`` edges lead from ``sources`` to ``targets``."""
        ones = torch.ones(len(sources), 1, device=hidden.device, dtype=hidden.dtype)
        none = hidden.new_zeros(len(hidden), 1)
        incoming = 1 / none.index_add(0, targets, ones)[targets]
        outgoing = 1 / none.index_add(0, sources, ones)[sources]
        for _ in range(self.step):
            read_in, read_out = self.linear_edge_in(hidden), self.linear_edge_out(hidden)
            heard_in = _arrived(incoming * read_in[sources], targets, len(hidden))
            heard_out = _arrived(outgoing * read_out[targets], sources, len(hidden))
            heard = torch.cat([heard_in + self.b_iah, heard_out + self.b_ioh], dim=1)
            reset_in, update_in, new_in = functional.linear(heard, self.w_ih, self.b_ih).chunk(3, dim=1)
            reset_own, update_own, new_own = functional.linear(hidden, self.w_hh, self.b_hh).chunk(3, dim=1)
            candidate = torch.tanh(new_in + torch.sigmoid(reset_in + reset_own) * new_own)
            hidden = hidden + torch.sigmoid(update_in + update_own) * (candidate - hidden)
        return hidden


def _arrived(messages: Tensor, nodes: Tensor, number: int) -> Tensor:
    """Messages ``(E, W)`` added up at the nodes that they go to, shape ``(number, W)``."""
    return messages.new_zeros(number, messages.shape[1]).index_add(0, nodes, messages)


class SrGnnModel(SessionModel):
    """SR-GNN with RecBole's parameters: either's ``state_dict`` loads into the other.

    Args:
        num_items: Number ``N`` of items.
        embedding_size: Width ``D`` of an item.
        step: Rounds of the graph network (paper App. A searches 1 and 2).
        node_width: Width ``W`` of a node; that of an item where not given, as in SR-GNN.
    """

    def __init__(self, num_items: int, embedding_size: int, step: int = 1, node_width: int | None = None) -> None:
        super().__init__()
        width = node_width or embedding_size
        self.item_embedding = nn.Embedding(num_items + 1, embedding_size, padding_idx=PADDING)
        self.gnn = GatedGraph(width, step)
        self.linear_one = nn.Linear(width, width)
        self.linear_two = nn.Linear(width, width)
        self.linear_three = nn.Linear(width, 1, bias=False)
        self.linear_transform = nn.Linear(2 * width, embedding_size)
        uniform_start(self, embedding_size)

    def node_vectors(self, items: Tensor) -> Tensor:
        """What the nodes of items start as: ``(T,)`` to ``(T, W)``."""
        vectors: Tensor = self.item_embedding(items)
        return vectors

    def encode(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:  # noqa: ARG002 (padding tells it)
        """Vectors of sessions, as `SessionModel.encode`: soft attention of the last item over all, and that item."""
        places = places_of(item_seq)
        nodes, edges = session_graph(item_seq)
        session, source, target = edges.nonzero(as_tuple=True)
        starts = places.starts[session]
        hidden = self.gnn(self.node_vectors(places.flat(item_seq)), starts + source, starts + target)
        hidden = hidden[places.starts[places.rows] + places.flat(nodes)]
        last = hidden[places.last]
        query = torch.sigmoid(self.linear_one(last)[places.rows] + self.linear_two(hidden))
        overall = places.summed(self.linear_three(query) * hidden)
        vectors: Tensor = self.linear_transform(torch.cat([overall, last], dim=1))
        return vectors
