"""Plug in a ranker of one's own: how it learns, how it scores; the rest is there."""

import numpy as np

import llmrec


@llmrec.register_ranker
class Frequent(llmrec.Ranker):
    name = "frequent"

    def _fit(self, training, products, folder, resume):
        self.counts = np.bincount(training.items, minlength=len(self.catalogue.vocabulary))

    def _rank_coded(self, sessions, k, seen):
        return self._best_of(np.tile(self.counts, (len(sessions), 1)), sessions, k, seen)


print(llmrec.fit("frequent", [["tea", "cup"], ["tea", "pot"]]).rank([["cup"]], k=2).to_list())
