"""Neural rankers: RecBole's models, and those it lacks, under the contract of every other ranker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from llmrec.rankers.attributes import FEATURE_COLUMNS
from llmrec.rankers.neural.base import NeuralRanker
from llmrec.rankers.neural.models.base import SessionModel
from llmrec.rankers.neural.models.core import CoreModel
from llmrec.rankers.neural.models.gru4recf import Gru4RecFModel
from llmrec.rankers.neural.models.mgs import MgsModel
from llmrec.rankers.neural.models.narm import NarmModel
from llmrec.rankers.neural.models.srgnn import SrGnnModel
from llmrec.rankers.neural.models.srgnnf import SrGnnFModel
from llmrec.rankers.neural.recbole import RecBoleModel
from llmrec.rankers.neural.settings import (
    CoreSettings,
    Gru4RecSettings,
    MgsSettings,
    NarmSettings,
    SasRecSettings,
    SrGnnSettings,
    StampSettings,
)

__all__ = ["Core", "Gru4Rec", "Gru4RecF", "Mgs", "Narm", "SasRec", "SrGnn", "SrGnnF", "Stamp"]

Arrays = Mapping[str, NDArray[Any]]


class Gru4Rec(NeuralRanker[Gru4RecSettings]):
    """GRU4Rec (Tan et al. 2016), RecBole's class: a recurrent network over the session's items."""

    name = "gru4rec"
    settings_class = Gru4RecSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        settings = self.settings
        return RecBoleModel(
            "gru4rec",
            num_items,
            settings.history,
            embedding_size=settings.embedding_size,
            hidden_size=settings.hidden_size,
            num_layers=settings.num_layers,
            dropout_prob=settings.dropout_prob,
        )


class Narm(NeuralRanker[NarmSettings]):
    """NARM (Li et al. 2017): recurrent network with attention over its states; weights interchange with RecBole's."""

    name = "narm"
    settings_class = NarmSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        return NarmModel(num_items, self.settings)


class Stamp(NeuralRanker[StampSettings]):
    """STAMP (Liu et al. 2018), RecBole's class: attention with the last item as short-term memory."""

    name = "stamp"
    settings_class = StampSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        settings = self.settings
        return RecBoleModel("stamp", num_items, settings.history, embedding_size=settings.embedding_size)


class SrGnn(NeuralRanker[SrGnnSettings]):
    """SR-GNN (Wu et al. 2019): gated message passing on the session's graph; weights interchange with RecBole's."""

    name = "srgnn"
    settings_class = SrGnnSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        return SrGnnModel(num_items, self.settings.embedding_size, self.settings.step)


class SasRec(NeuralRanker[SasRecSettings]):
    """SASRec (Kang and McAuley 2018), RecBole's class: a left-to-right transformer."""

    name = "sasrec"
    settings_class = SasRecSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        settings = self.settings
        return RecBoleModel(
            "sasrec",
            num_items,
            settings.history,
            hidden_size=settings.embedding_size,
            n_layers=settings.n_layers,
            n_heads=settings.n_heads,
            inner_size=settings.inner_size,
            hidden_dropout_prob=settings.hidden_dropout_prob,
            attn_dropout_prob=settings.attn_dropout_prob,
            hidden_act="gelu",
            layer_norm_eps=1e-12,
            initializer_range=0.02,
        )


class Core(NeuralRanker[CoreSettings]):
    """CORE (Hou et al. 2022): the session is a weighted sum of its items; weights interchange with RecBole's."""

    name = "core"
    settings_class = CoreSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:  # noqa: ARG002
        return CoreModel(num_items, self.settings)


class Gru4RecF(NeuralRanker[Gru4RecSettings]):
    """GRU4RecF (Hidasi et al. 2016): a second recurrent network reads the titles (paper §4.2)."""

    name = "gru4recf"
    reads = ("text",)
    needs_products = True
    settings_class = Gru4RecSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:
        return Gru4RecFModel(num_items, self.settings, features)


class SrGnnF(NeuralRanker[SrGnnSettings]):
    """SR-GNN whose nodes hold the title beside the item (paper §4.2)."""

    name = "srgnnf"
    reads = ("text",)
    needs_products = True
    settings_class = SrGnnSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:
        return SrGnnFModel(num_items, self.settings.embedding_size, self.settings.step, features=features)


class Mgs(NeuralRanker[MgsSettings]):
    """MGS (Lai et al. 2022): a mirror graph of items that share attributes beside the session's graph."""

    name = "mgs"
    product_columns = FEATURE_COLUMNS
    reads = ("attributes",)
    needs_products = True
    settings_class = MgsSettings

    def _build(self, num_items: int, features: Arrays) -> SessionModel:
        return MgsModel(num_items, self.settings, features)
