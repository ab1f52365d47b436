"""RecTools' two-stage ranker on sessions, run by a Python that has `rectools`, `lightgbm` and `scikit-learn`, not ours.

`python rectools_two_stage.py INTERACTIONS.csv USERS OUT.json`: rows of user, item and place; how many of the first
users are asked for; lists and seconds.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pandas as pd
from implicit.nearest_neighbours import CosineRecommender, TFIDFRecommender
from lightgbm import LGBMClassifier
from rectools import Columns
from rectools.dataset import Dataset
from rectools.model_selection import LastNSplitter
from rectools.models import ImplicitItemKNNWrapperModel, PopularModel
from rectools.models.ranking import CandidateGenerator, CandidateRankingModel, PerUserNegativeSampler, Reranker

CANDIDATES, LENGTH = 200, 100


def model() -> CandidateRankingModel:
    """As in RecTools' tutorial: several first stages with ranks and scores, a classifier of LightGBM above them."""
    first = (
        ImplicitItemKNNWrapperModel(CosineRecommender(K=100, num_threads=1)),
        ImplicitItemKNNWrapperModel(TFIDFRecommender(K=100, num_threads=1)),
        PopularModel(),
    )
    return CandidateRankingModel(
        [CandidateGenerator(one, CANDIDATES, keep_ranks=True, keep_scores=True) for one in first],
        LastNSplitter(1, n_splits=1),
        Reranker(LGBMClassifier(n_estimators=120, num_leaves=31, n_jobs=1, random_state=0, verbose=-1)),
        sampler=PerUserNegativeSampler(n_negatives=60, random_state=0),
    )


def main(interactions: str, users: str, out: str) -> None:
    """Fit, rank, write."""
    table = pd.read_csv(interactions, dtype={"item": str}, keep_default_na=False)
    frame = pd.DataFrame(
        {
            Columns.User: table["user"],
            Columns.Item: table["item"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2023-01-01") + pd.to_timedelta(table["place"], unit="D"),
        }
    )
    dataset = Dataset.construct(frame)
    asked = [user for user in range(int(users)) if user in set(table["user"])]
    started = time.process_time()
    ranker = model().fit(dataset)
    fitted = time.process_time()
    found = ranker.recommend(asked, dataset, k=LENGTH, filter_viewed=True)
    seconds = {"fit": fitted - started, "rank": time.process_time() - fitted}
    lists = {int(user): part[Columns.Item].tolist() for user, part in found.groupby(Columns.User, sort=False)}
    report = {"seconds": seconds, "lists": [lists.get(user, []) for user in range(int(users))]}
    Path(out).write_text(json.dumps(report), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
