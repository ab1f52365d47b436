"""What a fused ranker says in words is what its counts and features hold."""

from __future__ import annotations

import re

from llmrec.rankers.fusion.explain import explain_session
from tests.rankers.fusion.test_fusion import fitted


def test_a_count_is_that_of_the_training_sessions() -> None:
    ranker = fitted()
    told = explain_session(ranker, ["B03", "B04"], "DE", k=5)["products"]
    ids = ranker.catalogue.vocabulary
    last = int(ids.encode_list(["B04"])[0])
    seen = 0
    for product in told:
        (code,) = ids.encode_list([product["id"]]).tolist()
        counts = ranker.context.evidence.lookup(ids.encode_list(["B04"]), ids.encode_list([product["id"]]))[0]
        times = int(counts[0] + counts[2])  # next, and next as a label
        assert 1 <= len(product["why"]) <= 3
        found = re.fullmatch(r"seen next after the last product, ([\d,]+) of ([\d,]+) times", product["why"][0])
        assert bool(found) == (times > 0)
        if found:
            seen += 1
            assert int(found[1].replace(",", "")) == times
            assert int(found[2].replace(",", "")) == int(ranker.context.evidence.items[last, 0])
        assert code >= 0
    assert seen
