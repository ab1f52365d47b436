"""Counts of pairs and items: worked by hand, in parts of any size."""

from __future__ import annotations

import numpy as np
import pytest

from llmrec.rankers import TrainingSessions
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.fusion.candidate_features import feature_counts
from llmrec.rankers.fusion.candidate_features.feature_counts import FeatureCounts, ItemCount, PairCount, count_features


def counted() -> tuple[FeatureCounts, dict[str, int]]:
    sequences = [["a", "b", "a", "c"], ["b", "c"], [], ["c"]]
    training = TrainingSessions.of(sequences, ["DE"] * 4, labelled=False)
    training = TrainingSessions(training.sequences, training.locales, np.array([False, True, False, False]))
    catalogue, coded = catalogue_and_codes(training)
    codes = {name: code for code, name in enumerate(catalogue.vocabulary.ids.to_pylist())}
    return count_features(coded, len(codes), 1, 3, 0.5), codes


@pytest.mark.parametrize("part", [1, 2, 1 << 20])
def test_pairs_and_items_are_counted(part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_counts, "PART", part)
    counts, codes = counted()
    asked = [("a", "b"), ("b", "c"), ("c", "b"), ("a", "c"), ("c", "c")]
    found = counts.lookup(*(np.array([codes[pair[end]] for pair in asked]) for end in (0, 1)))
    wanted = np.zeros((len(asked), len(PairCount)))
    wanted[0, [PairCount.NEXT, PairCount.AFTER, PairCount.BEFORE]] = 1  # a b …; b a
    wanted[1, [PairCount.AFTER, PairCount.LABEL_NEXT, PairCount.LABEL_AFTER]] = 0.5, 1, 1
    wanted[2, [PairCount.BEFORE, PairCount.LABEL_BEFORE]] = 0.5, 1
    wanted[3, [PairCount.NEXT, PairCount.AFTER]] = 1, 1.25
    np.testing.assert_array_equal(found, wanted)
    assert counts.totals[codes["b"], PairCount.LABEL_NEXT] == 1
    assert counts.items[codes["c"]].tolist() == [3, 1, 2, 1, 0]
    assert counts.items[codes["a"], ItemCount.FOLLOWERS] == 2
    assert counts.lookup(np.zeros(0, np.int64), np.zeros(0, np.int64)).shape == (0, len(PairCount))
