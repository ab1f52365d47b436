"""The fused ranker: its contract, and that no training session knows its own target."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from llmrec.errors import ConfigError, ModelError
from llmrec.memory import Free
from llmrec.rankers import Sessions, TrainingSessions, load_ranker
from llmrec.rankers.catalogue import catalogue_and_codes
from llmrec.rankers.fusion import ranker as fusion
from llmrec.rankers.fusion.ablation import ablate_folds, ablate_job
from llmrec.rankers.fusion.candidate_features.features import GROUPS
from llmrec.rankers.fusion.explain import explain_session
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.scorers import learn_scorers
from llmrec.rankers.fusion.settings import FusionSettings
from llmrec.rankers.fusion.training import draw_folds, families, known_to_fold, with_last_as_label
from llmrec.rankers.rank import RankJob
from llmrec.testing.ranker_contract import ITEMS, RankerContract, products, training_sessions
from llmrec.text.encoders.tfidf import TfidfEncoder

QUICK: dict[str, Any] = {"rounds": 20, "min_leaf": 5, "threads": 1, "folds": 3}
NEAR = ("covisit_near", "covisit_walk")  # quick to fit


class TestFusion(RankerContract):
    ranker = Fusion
    settings = FusionSettings(**QUICK)


class TestTransductiveFusion(RankerContract):
    ranker = Fusion
    settings = FusionSettings(**QUICK, transductive=True, sources=(*NEAR, "item_vectors"), boosters=2)


class TestScoredFusion(RankerContract):
    ranker = Fusion
    settings = FusionSettings(**QUICK, transductive=True, sources=NEAR, scorers=("stamp_scorer",))


def fitted(training: TrainingSessions | None = None, table: Any = None, **changes: Any) -> Fusion:
    settings = FusionSettings(**QUICK | {"sources": NEAR} | changes)
    return Fusion(settings).fit(training or training_sessions(), table)


PLANTED = "Z99"  # the target of one session; no other session holds it


@pytest.mark.parametrize("scorers", [(), ("stamp_scorer",)])
@pytest.mark.parametrize("transductive", [True, False])
def test_a_target_that_stands_nowhere_else_is_unknown_to_its_own_features(
    transductive: bool, scorers: tuple[str, ...]
) -> None:
    planted = TrainingSessions.of([["B03", "B04", PLANTED]], ["DE"])
    sources = (*NEAR, "item_vectors")
    changes = {"sources": sources, "transductive": transductive, "negatives": 500, "scorers": scorers}
    ranker = Fusion(FusionSettings(**QUICK | changes))
    without = ranker.folds_of(training_sessions().joined(planted))
    code = ranker.catalogue.vocabulary.encode_list([PLANTED])[0]
    for fold in without:
        judged = fold.judged
        assert judged is None or code not in judged.candidates.codes[judged.targets[judged.candidates.rows] == code]
    assert sum(fold.num_sessions - fold.found for fold in without) >= 1  # the planted session has nothing to teach
    # the whole is allowed to know it
    assert PLANTED in ranker.fit(training_sessions().joined(planted)).rank_session(["B03", "B04"], "DE")[0]


@pytest.mark.parametrize("scorers", [(), ("stamp_scorer",)])
def test_features_of_a_session_do_not_change_with_its_target(scorers: tuple[str, ...]) -> None:
    others = training_sessions()
    features = []
    for target in ("B05", "B20"):
        training = others.joined(TrainingSessions.of([["B03", "B04", target]], ["DE"]))
        ranker = Fusion(FusionSettings(**QUICK, sources=NEAR, scorers=scorers, transductive=True))
        ranker.catalogue, coded = catalogue_and_codes(training)
        last = np.array([len(training) - 1])
        context = ranker._learner(coded, None)(known_to_fold(coded, last, transductive=True))
        ranker.context, ranker.trees = context, None
        prefix = coded.take(last).without_last(np.ones(1, dtype=np.bool_))
        ranker.trees = fitted(scorers=scorers).trees  # any, so that features are made
        found, values = ranker.seen_by_trees(prefix, "drop")
        features.append((found.codes.tolist(), values))
    assert features[0][0] == features[1][0]
    np.testing.assert_array_equal(features[0][1], features[1][1])


def test_a_fold_keeps_its_prefixes_only_where_use_is_transductive() -> None:
    training = TrainingSessions.of([["a", "b", "c"], ["d", "e"]], ["DE", "DE"])
    catalogue, coded = catalogue_and_codes(training)
    names = catalogue.vocabulary.ids.to_pylist()
    kept = known_to_fold(coded, np.array([0]), transductive=True)
    assert [names[code] for code in kept.items] == ["a", "b", "d", "e"]
    assert kept.labelled is not None
    assert kept.labelled.tolist() == [False, True]
    left = known_to_fold(coded, np.array([0]), transductive=False)
    assert [names[code] for code in left.items] == ["d", "e"]


@pytest.mark.parametrize("transductive", [True, False])
def test_a_history_is_kept_whole_out_of_what_its_fold_knows(transductive: bool) -> None:
    training = TrainingSessions.of([["a", "b", "c"], ["a", "b", "c", "d"], ["e", "f"]], ["DE"] * 3)
    catalogue, coded = catalogue_and_codes(training)
    family = families(coded)
    assert family[0] == family[1] != family[2]
    known = known_to_fold(coded, np.array([0]), transductive, family)
    names = catalogue.vocabulary.ids.to_pylist()
    # the longer session would tell that c follows b; a prefix that was there to be counted may
    assert [names[code] for code in known.items] == (
        ["a", "b", "a", "b", "c", "e", "f"] if transductive else ["e", "f"]
    )
    parts = draw_folds(coded, FusionSettings(folds=2), family)
    assert sorted(len(part) for part in parts) == [1, 2]


def test_few_teaching_sessions_among_many_are_left_out_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[int] = []
    fit_context = fusion.fit_context

    def counted(settings: Any, catalogue: Any, known: Any, *others: Any) -> Any:
        learnt.append(len(known))
        return fit_context(settings, catalogue, known, *others)

    monkeypatch.setattr(fusion, "fit_context", counted)
    training = training_sessions()
    number = len(training)
    taught = int(training.labelled.sum()) // 3
    fitted(training, max_sessions=taught)
    assert learnt == [number - taught, number]  # once for all three folds, once for the whole
    learnt.clear()
    fitted(training, max_sessions=taught + 1)
    assert len(learnt) == 4


def test_cold_targets_are_taken_out_of_what_their_fold_knows() -> None:
    training = TrainingSessions.of([["a", "b"], ["b", "c"], ["d", "b"]], ["DE"] * 3)
    catalogue, coded = catalogue_and_codes(training)
    bare = coded.without_items(catalogue.vocabulary.encode_list(["b"]))
    names = catalogue.vocabulary.ids.to_pylist()
    assert [names[code] for code in bare.items] == ["a", "c", "d"]
    assert bare.labelled is not None
    assert bare.labelled.tolist() == [False, True, False]


def test_folds_part_the_labelled_sessions_and_hold_no_more_than_asked() -> None:
    _, coded = catalogue_and_codes(training_sessions())
    folds = draw_folds(coded, FusionSettings(folds=4, max_sessions=30))
    rows = np.concatenate(folds)
    assert len(folds) == 4
    assert len(rows) == len(set(rows)) == 30
    assert coded.labelled is not None
    assert coded.labelled[rows].all()


@pytest.mark.parametrize("grouped", [False, True])
def test_the_first_sessions_of_a_fold_are_of_every_locale_of_a_sorted_file(grouped: bool) -> None:
    number = 300
    training = TrainingSessions.of([["a", str(row)] for row in range(number)], ["DE"] * 200 + ["FR"] * 100)
    _, coded = catalogue_and_codes(training)
    folds = draw_folds(coded, FusionSettings(folds=3), np.arange(number) if grouped else None)
    assert [len(set(coded.locales[fold[:30]])) for fold in folds] == [2, 2, 2]


def test_histories_that_go_on_stay_in_one_fold_where_asked() -> None:
    lists = [[f"{history}-{place}" for place in range(length)] for history in range(20) for length in (3, 4, 5)]
    _, coded = catalogue_and_codes(TrainingSessions.of(lists, ["DE"] * len(lists)))
    folds = draw_folds(coded, FusionSettings(folds=4), families(coded))
    assert sorted(np.concatenate(folds).tolist()) == list(range(60))
    assert all(set((fold // 3).tolist()).isdisjoint((other // 3).tolist()) for fold, other in combinations(folds, 2))
    apart = draw_folds(coded, FusionSettings(folds=4))
    assert not all(len(fold) == 3 * len(set((fold // 3).tolist())) for fold in apart)


def test_a_share_of_a_folds_targets_is_cold_where_asked() -> None:
    table = products(24)
    titles = Fusion(FusionSettings(**QUICK, sources=(*NEAR, "title_vectors"), cold_share=1.0, negatives=500))
    place = titles.folds_of(training_sessions(), table)[0]
    known = place.examples.features[place.examples.labels == 1][:, place.names.index("item.count")]
    assert len(known)
    assert (known == 0).all()


def test_the_last_item_labels_a_bare_session_where_asked() -> None:
    lists = [["a", "b", "c"], ["a", "b"], ["c", "a", "c"]]
    _, bare = catalogue_and_codes(TrainingSessions.of(lists, ["DE"] * 3, labelled=False))
    assert with_last_as_label(bare).labelled.tolist() == [True, False, False]  # type: ignore[union-attr]
    _, told = catalogue_and_codes(TrainingSessions.of(lists, ["DE"] * 3))
    assert with_last_as_label(told) is told
    training = training_sessions()
    unlabelled = TrainingSessions(training.sequences, training.locales, np.zeros(len(training), dtype=np.bool_))
    assert fitted(unlabelled, label_last=True).trees is not None


def test_it_learns_what_the_sources_do_not_know() -> None:
    """Sources see a and b follow x alike often; labels say that it is b in FR and a in DE."""
    sequences, locales = [], []
    for number in range(200):
        locale = ("DE", "FR")[number % 2]
        sequences.append(["x", "a" if locale == "DE" else "b"])
        locales.append(locale)
    ranker = fitted(TrainingSessions.of(sequences, locales), min_leaf=2)
    assert ranker.rank_session(["x"], "DE", 1)[0] == ["a"]
    assert ranker.rank_session(["x"], "FR", 1)[0] == ["b"]


def test_learning_that_does_not_fit_is_refused_with_sessions_that_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fusion, "free_memory", lambda: Free(3_000, "a test"))
    monkeypatch.setattr(fusion, "learning_bytes", lambda first, settings, sessions: 100 * sessions)
    fits = r"^fusion's learning from \d+ sessions needs .*; what fits: max_sessions=30$"
    with pytest.raises(ConfigError, match=fits):
        fitted()
    assert fitted(max_sessions=30).trees is not None


def test_a_cold_product_is_ranked_by_its_title() -> None:
    training = training_sessions()
    table = products(24)
    cold = table.slice(3, 1).set_column(0, "id", [["COLD"]])
    both = pa.concat_tables([table, cold.cast(table.schema)])
    ranker = fitted(training, both, sources=(*NEAR, "title_vectors"))
    assert "COLD" in ranker.rank_session(["B03"], "DE", 100)[0]


@pytest.mark.parametrize("transductive", [False, True])
def test_titles_are_learnt_once_for_all_folds(monkeypatch: pytest.MonkeyPatch, transductive: bool) -> None:
    fits, fit = [], TfidfEncoder.fit
    monkeypatch.setattr(TfidfEncoder, "fit", lambda *given: fits.append(given) or fit(*given))
    fitted(training_sessions(), products(24), sources=(*NEAR, "title_vectors"), transductive=transductive)
    assert len(fits) == 1


def test_no_labelled_session_falls_back_to_the_ranks_of_the_sources(capsys: pytest.CaptureFixture[str]) -> None:
    training = training_sessions()
    bare = TrainingSessions(training.sequences, training.locales, np.zeros(len(training), dtype=np.bool_))
    ranker = fitted(bare)
    assert ranker.trees is None
    assert "they stand by their ranks alone" in " ".join(capsys.readouterr().err.split())
    assert ranker.rank_session(["B03"], "DE", 3)[0]


def test_a_session_without_candidates_gets_what_its_locale_has_most() -> None:
    ranker = fitted()
    popular = ranker.catalogue.popular[ranker.catalogue.locales.index("FR")][:5]
    assert ranker.rank_session(["UNKNOWN"], "FR", 5)[0] == ranker.catalogue.vocabulary.decode(popular).to_pylist()


def test_a_source_that_proposes_nothing_leaves_the_others_to_it() -> None:
    """No pair of items ever stood together, so co-visitation knows no neighbour of anything; vectors do."""
    alone = TrainingSessions.of([[item] for item in ITEMS], ["DE"] * len(ITEMS), labelled=False)
    ranker = fitted(alone, sources=("covisit_near", "item_vectors"))
    coded = ranker.catalogue.encode(Sessions.of([["B03"]], ["DE"]))
    found = ranker.seen_by_trees(coded, "drop")[0]
    assert np.isnan(found.ranks[:, 0]).all()
    assert (found.ranks[:, 1] >= 1).all()
    assert len(ranker.rank_session(["B03"], "DE", 5)[0]) == 5


def test_labels_that_are_all_one_product_are_learnt() -> None:
    training = training_sessions()
    lists = [[*items[:-1], "ONE"] for items in training.sequences.to_pylist()]
    ranker = fitted(TrainingSessions.of(lists, training.locales.to_pylist()))
    assert ranker.trees is not None
    assert ranker.rank_session(["B03", "B04"], "DE", 1)[0] == ["ONE"]


def test_a_single_locale_is_enough() -> None:
    training = training_sessions()
    ranker = fitted(TrainingSessions(training.sequences, training.locales.take([0] * len(training)), training.labelled))
    assert ranker.rank_session(["B03"], "DE", 3)[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": ("covisit_naer",)}, "no recipe 'covisit_naer'; did you mean 'covisit_near'"),
        ({"sources": ("fusion",)}, "cannot be a source of its own"),
        ({"sources": ("demo",)}, "takes one of kind 'ranker'"),
        ({"sources": ("covisit", "covisit")}, "named twice"),
        ({"sources": ("title_vectors",)}, "every source reads products"),
        ({"scorers": ("covisit",)}, "'covisit' in 'scorers' is no neural ranker"),
        ({"without": ("pairs",)}, "did you mean 'pair'"),
        ({"without": NEAR}, "no source is left"),
        ({"without": tuple(GROUPS)}, "every feature group"),
    ],
)
def test_wrong_settings_are_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        fitted(**changes)


def test_a_group_that_is_switched_off_gives_no_feature() -> None:
    trees = fitted(without=("pair", "vector")).trees
    assert trees is not None
    assert {name.split(".")[0] for name in trees.feature_names()} == {"source", "item", "session", "id"}


def test_a_scorer_learns_from_bare_sessions_that_look_like_the_labelled_ones() -> None:
    labelled = TrainingSessions.of([["a", "b", "c"]], ["DE"])
    bare = TrainingSessions.of([["a", "x"], ["a", "y", "z"], ["c", "w"]], ["DE", "DE", "DE"], labelled=False)
    catalogue, coded = catalogue_and_codes(labelled.joined(bare))
    settings = FusionSettings(scorers=("stamp_scorer",), familiar=0.5)
    scorer = learn_scorers(settings, catalogue, coded)["stamp_scorer"]
    assert scorer.ranker.catalogue.vocabulary.ids.to_pylist() == [
        "a",
        "b",
        "x",
    ]  # c is a label, of which nothing is read
    codes = catalogue.vocabulary.encode_list(["b", "y"])
    values = scorer.scores(coded.take(np.array([1])), np.array([0, 0]), codes)
    assert np.isfinite(values[:, 0]).all()
    assert np.isnan(values[:, 1]).all()


def test_candidates_that_the_first_trees_drop_stand_below_the_others() -> None:
    ranker = fitted(training_sessions(count=600), rounds=40)
    trees = ranker.trees
    assert trees is not None
    sessions = ranker.catalogue.encode(Sessions.of([["B03", "B04"], ["B10"]], ["DE", "FR"]))
    found, features = ranker.seen_by_trees(sessions, "drop")
    whole = trees.scores(features, 1)
    staged = trees.staged_scores(found.rows, features, 10, 5, 1)
    first = trees.staged_scores(found.rows, features, 0, 5, 1)
    np.testing.assert_array_equal(first, whole)
    for row in (0, 1):
        own = found.rows == row
        kept = own & (staged == whole)
        assert 5 <= kept.sum() < own.sum()
        assert staged[kept].min() > staged[own & ~kept].max()


def test_threads_rank_as_one_does() -> None:
    # a LightGBM model keeps the number of trees to use for whoever asks next, also in another thread
    ranker = fitted(training_sessions(count=600), rounds=120, threads=1, first_trees=60, finalists=5)
    sessions = Sessions.of([[ITEMS[place % 24], ITEMS[(place * 7) % 24]] for place in range(12_000)], ["DE"] * 12_000)
    alone = tuple(ranker.rank(sessions, 10))
    ranker.settings = replace(ranker.settings, threads=2)
    for _ in range(3):
        assert tuple(ranker.rank(sessions, 10)) == alone


class TestSaved:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        fitted().save(tmp_path / "model")
        return tmp_path / "model"

    def test_a_missing_source_is_named(self, folder: Path) -> None:
        shutil.rmtree(folder / "sources" / "1")
        with pytest.raises(ModelError, match="'covisit_walk' is missing; fit it again"):
            load_ranker(folder)

    def test_a_source_of_other_data_is_refused(self, folder: Path) -> None:
        other = fitted(training_sessions(seed=1))
        shutil.rmtree(folder / "sources" / "0")
        other.context.sources["covisit_near"].save(folder / "sources" / "0")
        with pytest.raises(ModelError, match="not the 'covisit_near' that the trees were fitted with"):
            load_ranker(folder)

    def test_a_scorer_of_other_data_is_refused(self, tmp_path: Path) -> None:
        fitted(scorers=("stamp_scorer",)).save(tmp_path / "model")
        fitted(training_sessions(seed=1), scorers=("stamp_scorer",)).save(tmp_path / "other")
        shutil.rmtree(tmp_path / "model" / "scorers")
        with pytest.raises(ModelError, match="scorer 'stamp_scorer' is missing"):
            load_ranker(tmp_path / "model")
        shutil.copytree(tmp_path / "other" / "scorers", tmp_path / "model" / "scorers")
        with pytest.raises(ModelError, match="not the 'stamp_scorer' that"):
            load_ranker(tmp_path / "model")

    def test_the_estimate_is_read_back(self, folder: Path) -> None:
        report = json.loads((folder / "importances.json").read_text())
        assert load_ranker(folder).estimate == report["estimate"]  # type: ignore[attr-defined]

    def test_importances_add_up_to_one(self, folder: Path) -> None:
        report = json.loads((folder / "importances.json").read_text())
        assert sum(report["importances"].values()) == pytest.approx(1, abs=1e-3)
        assert set(report["estimate"]) == {"mrr@100", "recall@100", "candidate_recall", "sessions"}


def test_an_explanation_adds_up_to_the_score() -> None:
    ranker = fitted()
    trees = ranker.trees
    assert trees is not None
    told = explain_session(ranker, ["B03", "B04"], "DE", k=3, reasons=len(trees.feature_names()))
    ids, scores = ranker.rank_session(["B03", "B04"], "DE", 3)
    assert [product["id"] for product in told["products"]] == ids
    for product, score in zip(told["products"], scores, strict=True):
        added = told["shared"] + sum(reason["adds"] for reason in product["reasons"])
        assert added == pytest.approx(score, abs=0.02)
        assert product["sources"]
    json.dumps(told, allow_nan=False)


def test_a_session_without_a_known_item_is_explained_by_nothing() -> None:
    for items in ([], ["nobody"]):
        assert explain_session(fitted(), items, "DE", k=3)["products"] == []


def test_an_ablation_has_a_row_for_each_source_and_group() -> None:
    ranker = Fusion(FusionSettings(**QUICK | {"sources": NEAR}))
    rows = ablate_folds(ranker.folds_of(training_sessions(count=400)), ranker)
    assert [row.off for row in rows] == ["", *NEAR, "source", "pair", "item", "session", "id"]
    assert all(list(row.scores) == ["mrr@100", "recall@100"] for row in rows)
    assert len({row.num_sessions for row in rows}) == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ranker": "covisit"}, "'covisit' has none"),
        ({"train": ()}, "give --train FILE"),
        ({"out": Path("run.parquet")}, "leave --out out"),
        ({"save": Path("model")}, "leave --save out"),
        ({"transductive": True}, "give --sessions FILE"),
    ],
)
def test_an_ablation_writes_nothing_and_is_of_fusion(changes: dict[str, Any], message: str) -> None:
    job = RankJob(**{"ranker": "fusion", "train": (Path("train.parquet"),)} | changes)
    with pytest.raises(ConfigError, match=message):
        ablate_job(job)


def test_the_ring_is_learnt() -> None:
    ranker = fitted(training_sessions(count=600))
    sessions = Sessions.of([["B03", "B04"], ["B10", "B12"]], ["DE", "FR"])
    for listed, after in zip(ranker.rank(sessions, 3).ids.to_pylist(), (4, 12), strict=True):
        assert set(listed) & {ITEMS[after + 1], ITEMS[after + 2]}
