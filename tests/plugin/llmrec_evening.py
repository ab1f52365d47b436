"""A package that adds a ranker and a metric to llmrec: what was seen last sells best."""

from dataclasses import dataclass

import numpy as np

from llmrec import Ranker
from llmrec.settings import option


@dataclass(frozen=True, kw_only=True)
class EveningSettings:
    """Settings of `Evening`; each is a ``--set name=value``."""

    weight: float = option(1.0, "Weight of a later session against an earlier one.", above=0)


class Evening(Ranker[EveningSettings]):
    """Items by how late in the training files they stand."""

    name = "evening"
    settings_class = EveningSettings

    def _fit(self, training, products, folder, resume):
        self.late = np.zeros(len(self.catalogue.vocabulary), dtype=np.float32)
        np.maximum.at(self.late, training.items, self.settings.weight * np.arange(1, len(training.items) + 1))

    def _rank_coded(self, sessions, k, seen):
        return self._best_of(np.broadcast_to(self.late, (len(sessions), len(self.late))), sessions, k, seen)

    def _state(self):
        return {"late": self.late}

    def _restore(self, arrays):
        self.late = arrays["late"]


def first_page_at_k(ranks, k):
    return float(((ranks > 0) & (ranks <= min(k, 10))).mean())
