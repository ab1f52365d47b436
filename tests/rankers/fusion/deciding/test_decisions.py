"""Fusion decides what its recipe leaves open: rightly on shops made for it, as told, and the same after it is saved."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import llmrec
from llmrec.errors import ConfigError, DataError
from llmrec.evaluation.bootstrap import Interval
from llmrec.rankers import TrainingSessions
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.fusion.deciding import facts, judging
from llmrec.rankers.fusion.deciding.facts import decide_parts_by_facts
from llmrec.rankers.fusion.deciding.judging import decide_parts
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import Fold
from llmrec.rankers.fusion.trees import Examples
from llmrec.rankers.rank import RankJob, learning_material
from llmrec.rankers.recipes import ranker_settings
from llmrec.testing.ranker_contract import products, training_sessions

OPEN: dict[str, Any] = {"seen": "auto", "grouped": "auto", "label_last": "auto"}
QUICK: dict[str, Any] = {"rounds": 10, "min_leaf": 5, "threads": 1, "folds": 3, "sources": ("covisit_walk",)}
ITEMS = [f"I{number:02}" for number in range(40)]


def fitted(training: TrainingSessions, table: Any = None, **changes: Any) -> Fusion:
    return Fusion(FusionSettings(**QUICK | OPEN | changes)).fit(training, table)


def shop(share_of_repeats: float, count: int = 200, labelled: bool = True) -> TrainingSessions:
    """Sessions of four items of one of ten shelves; the label is one of them, or the shelf's fifth-to-be."""
    rng = np.random.default_rng(0)
    lists = []
    for _ in range(count):
        shelf = rng.permutation(ITEMS[4 * (place := rng.integers(9)) : 4 * place + 5]).tolist()
        again = rng.random() < share_of_repeats
        lists.append([*shelf[:3], shelf[0] if again else shelf[4]])
    return TrainingSessions.of(lists, ["UK"] * count, labelled)


def prefixes(count: int = 60) -> TrainingSessions:
    """Each history once for every prefix of three items or more."""
    rng = np.random.default_rng(0)
    histories = [rng.permutation(ITEMS)[:6].tolist() for _ in range(count)]
    return TrainingSessions.of([one[:end] for one in histories for end in (3, 4, 5, 6)], ["UK"] * 4 * count)


def values(ranker: Fusion) -> dict[str, Any]:
    return {one.setting: one.value for one in ranker.decisions}


@pytest.mark.parametrize(("share", "seen"), [(0.7, "keep"), (0.0, "drop")])
def test_seen_items_are_kept_where_shoppers_come_back_to_them(
    share: float, seen: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ranker = fitted(shop(share))
    assert values(ranker)["seen"] == ranker.settings.seen == seen
    assert f"seen={seen}" in capsys.readouterr().err
    session = ITEMS[4:7]
    listed = ranker.rank_session(session, "UK", 10)
    assert listed == ranker.rank_session(session, "UK", 10, seen)
    assert (session[0] in listed[0]) == (seen == "keep")
    assert ranker.rank([session], locale="UK").provenance["seen"] == seen
    # the saved ranker, and one that has learnt more, remember it
    ranker.save(tmp_path / "model")
    loaded = llmrec.load_ranker(tmp_path / "model")
    assert isinstance(loaded, Fusion)
    assert loaded.decisions == ranker.decisions
    assert loaded.rank_session(session, "UK", 10) == listed
    later = llmrec.update(loaded, [ITEMS[:3]], locale="UK")
    assert later.seen_by_default == seen  # type: ignore[union-attr]


def test_what_is_given_wins_over_what_would_be_decided() -> None:
    ranker = fitted(shop(0.7), seen="drop", grouped=True, label_last=True)
    assert ranker.decisions == ()
    assert ranker.seen_by_default == "drop"


@pytest.mark.parametrize(("given", "seen"), [("keep", "keep"), ("drop", "drop"), (None, "auto")])
def test_seen_on_the_command_line_is_what_the_saved_ranker_remembers(given: Any, seen: str, tmp_path: Path) -> None:
    file = tmp_path / "train.csv"
    file.write_text("prev_items,next_item,locale\n\"['a' 'b']\",c,UK\n")
    job = RankJob(ranker="fusion", train=(file,), seen=given, save=tmp_path / "model")
    assert learning_material(job, None).settings.seen == seen


def test_a_fit_anew_decides_anew() -> None:
    ranker = fitted(shop(0.7))
    assert ranker.fit(shop(0.0)).seen_by_default == "drop"


@pytest.mark.parametrize(("training", "grouped"), [(prefixes(), True), (shop(0.0), False)])
def test_rows_that_are_prefixes_of_each_other_stay_together(training: TrainingSessions, grouped: bool) -> None:
    assert values(fitted(training))["grouped"] is grouped


@pytest.mark.parametrize(("seen", "label", "repeated"), [("auto", "any", True), ("drop", True, False)])
def test_bare_sessions_give_their_last_items(seen: str, label: Any, repeated: bool) -> None:
    ranker = fitted(shop(0.7, labelled=False), seen=seen)
    assert values(ranker)["label_last"] == label
    assert ranker.trees is not None
    assert (ranker.seen_by_default == "keep") == repeated


def test_no_scorer_is_tried_that_nobody_can_judge_or_afford() -> None:
    settings = FusionSettings(sources="auto", scorers="auto")
    _, few = catalogue_and_codes(shop(0.0))
    whys = {one.setting: one.why for one in decide_parts_by_facts(settings, few, ["covisit_walk"])}
    assert whys == {
        "sources": "no --products, so no source reads texts",
        "scorers": "too few labelled sessions (200) to tell what a neural scorer is worth",
    }
    _, many = catalogue_and_codes(shop(0.0, 6_000))
    assert decide_parts_by_facts(settings, many, None) == []
    dear = replace(settings, folds=200)
    assert [one.value for one in decide_parts_by_facts(dear, many, None)] == [[]]
    assert decide_parts_by_facts(replace(dear, transductive=True), many, None) == []


def folds_where(worth: str, strength: float = 1.0, number: int = 400) -> list[Fold]:
    """Two folds of five candidates a session; the features of one source or scorer tell the target, others nothing."""
    rng = np.random.default_rng(0)
    names = ["source.covisit_walk.rank", "source.title_vectors.rank", "neural.stamp_scorer.score"]
    folds = []
    for _ in range(2):
        labels = np.tile([1, 0, 0, 0, 0], number)
        features = rng.random((len(labels), 3)).astype(np.float32)
        features[:, names.index(worth)] -= np.float32(strength) * labels
        examples = Examples(features, labels.astype(np.int8), np.full(number, 5), np.ones(len(labels), np.float32))
        folds.append(Fold(names, examples, None, number, number, np.arange(number)))
    return folds


@pytest.mark.parametrize(
    ("worth", "scorers"), [("neural.stamp_scorer.score", ["stamp_scorer"]), ("source.covisit_walk.rank", [])]
)
@pytest.mark.parametrize("transductive", [True, False])
def test_a_scorer_is_taken_where_it_is_worth_something(worth: str, scorers: list[str], transductive: bool) -> None:
    sources = ("covisit_walk", "title_vectors")
    settings = FusionSettings(**QUICK | {"sources": sources, "scorers": "auto", "transductive": transductive})
    (one,) = decide_parts(settings, folds_where(worth), ["title_vectors"])
    assert (one.setting, one.value) == ("scorers", scorers)
    assert "on 800 sessions out of fold" in one.why


def test_texts_are_left_out_where_they_surely_harm() -> None:
    settings = FusionSettings(**QUICK | {"sources": "auto"})
    helped = decide_parts(settings, folds_where("source.title_vectors.rank"), ["title_vectors"])
    assert "title_vectors" in helped[0].value  # type: ignore[operator]
    misled = folds_where("source.covisit_walk.rank", strength=0.3)
    # what the first fold's texts say of its targets is the reverse in the second
    for fold, sign in zip(misled, (-1, 1), strict=True):
        fold.examples.features[:, 1] += np.float32(0.5) * sign * fold.examples.labels
    assert "title_vectors" not in decide_parts(settings, misled, ["title_vectors"])[0].value  # type: ignore[operator]


def test_titles_that_tell_what_is_next_are_read() -> None:
    ranker = fitted(shop(0.0), products(24), sources="auto", scorers="auto")
    assert "title_vectors" in ranker.settings.sources
    assert "no --products" not in str(ranker.decisions)


@pytest.mark.parametrize("worth", [0.1, -0.1])
def test_what_is_taken_and_what_is_left_out_are_what_the_trees_read(
    worth: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "TELLING", 10)
    monkeypatch.setattr(judging, "gain", lambda *_: Interval(worth, worth, worth, 1))
    asked = {"sources": "auto", "scorers": "auto", "transductive": True, "seen": "drop", "folds": 2}
    ranker = fitted(training_sessions(60), products(24), **asked)
    assert ("stamp_scorer" in ranker.context.scorers) == ("title_vectors" in ranker.context.sources) == (worth > 0)
    assert ranker.trees is not None
    read = {name.split(".")[1] for name in ranker.trees.feature_names()}
    assert ({"stamp_scorer", "title_vectors"} <= read) == (worth > 0)
    assert read & {"stamp_scorer", "title_vectors"} in ({"stamp_scorer", "title_vectors"}, set())
    ranker.save(tmp_path / "model")
    listed = llmrec.load_ranker(tmp_path / "model").rank_session(["B03", "B04"], "DE", 5)
    assert listed == ranker.rank_session(["B03", "B04"], "DE", 5)


@pytest.mark.parametrize("most", [60, 18])
def test_a_scorer_that_is_left_out_is_left_out_of_every_fold(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one fit of sources and counts serves all folds, as it does where few of many labels teach."""
    monkeypatch.setattr(facts, "TELLING", 10)
    monkeypatch.setattr(judging, "gain", lambda *_: Interval(-0.1, -0.1, -0.1, 1))
    ranker = Fusion(FusionSettings(**QUICK | {"scorers": "auto", "transductive": True, "max_sessions": most}))
    names = [fold.names for fold in ranker.folds_of(training_sessions())]
    assert len(names) == 3
    assert all(one == names[0] for one in names)
    assert not any("stamp_scorer" in name for name in names[0])


ONE = TrainingSessions.of([["a", "b", "c"]], ["UK"])
RING = TrainingSessions.of(
    [[str(one % 10), str((one + 1) % 10), str((one + 2) % 10)] for one in range(50)], ["UK"] * 50
)


@pytest.mark.parametrize(
    ("training", "session", "first"),
    [
        (ONE, ["a"], "b"),
        (TrainingSessions.of([["a", "b", "c"]], ["UK"], labelled=False), ["a"], "b"),
        (TrainingSessions.of([["a", "a"]] * 10, ["UK"] * 10), ["a"], "a"),
        (RING, ["3", "4"], "5"),
        (replace(RING, labelled=~RING.labelled), ["3", "4"], "5"),
    ],
)
def test_a_small_shop_gets_a_sensible_list_by_the_recipe(
    training: TrainingSessions, session: list[str], first: str
) -> None:
    settings = ranker_settings("fusion", None, {"rounds": 10, "threads": 1})
    assert settings.seen == settings.grouped == settings.label_last == settings.sources == settings.scorers == "auto"
    ranker = Fusion(settings).fit(training)
    assert ranker.rank_session(session, "UK", 3)[0][0] == first
    assert "auto" not in vars(ranker.settings).values()


def test_a_shop_of_one_item_or_none_is_told() -> None:
    assert fitted(TrainingSessions.of([["a"]], ["UK"])).rank_session(["x"], "UK")[0] == ["a"]
    with pytest.raises(DataError, match="the training sessions hold no item"):
        fitted(TrainingSessions.of([[]], ["UK"]))


def test_a_word_that_is_not_auto_is_refused() -> None:
    with pytest.raises(ConfigError, match="--scorers must be a list or auto; got 'stamp'"):
        ranker_settings("fusion", None, {"scorers": "stamp"})


def test_a_folder_of_before_drops_seen_items(tmp_path: Path) -> None:
    """Its record knows no decision, and its settings no ``seen``."""
    settings = {name: value for name, value in QUICK.items() if name != "sources"}
    ranker = Fusion(FusionSettings(**settings, sources=("covisit_walk",))).fit(shop(0.7))
    ranker.save(tmp_path / "model")
    assert llmrec.load_ranker(tmp_path / "model").seen_by_default == "drop"  # type: ignore[union-attr]
