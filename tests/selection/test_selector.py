"""The selector as a whole: honest lessons, files, runs given, what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.errors import ConfigError, DataError, ModelError
from llmrec.evaluation.runs import read_run, write_run
from llmrec.rankers import Sessions, TrainingSessions
from llmrec.rankers.fusion.ranker import Fusion
from llmrec.rankers.fusion.trees import Trees
from llmrec.selection.ablation import ablate_selector
from llmrec.selection.learning import learn_folds
from llmrec.selection.select_titles import SelectJob, describe_estimate, run_select_job
from llmrec.selection.selector import Selector, ranker_settings_of
from llmrec.selection.settings import SelectSettings
from llmrec.selection.table import TitleTable
from tests.rewriting import rewrite
from tests.selection.shop import QUICK, SETTINGS, product_table, sessions, training, write_store

PRODUCTS = product_table()
TABLE = TitleTable(PRODUCTS)


@pytest.fixture(scope="module")
def selector() -> Selector:
    return Selector(SETTINGS).fit(training(), PRODUCTS, TABLE)


def asked(number: int = 20, seed: int = 9) -> Sessions:
    sequences, locales = sessions(number, seed)
    return Sessions.of([items[:-1] for items in sequences], locales)


def test_it_learns_which_title_follows(selector: Selector) -> None:
    estimate = selector.estimate
    assert estimate["gain"][1] > 0
    assert estimate["last_title"] + 10 < estimate["bleu"] <= estimate["oracle"]
    titles = selector.select(Sessions.of([["I00", "I01"], ["I61", "I62"]], ["US", "JP"]), TABLE)
    assert titles[0].startswith("Brand0 Bolt kind 0")
    assert titles[1].startswith("Brand6 ボルト")


@pytest.mark.parametrize("seed", [1, 2])
def test_where_nothing_can_be_foreseen_it_is_not_below_the_last_title(seed: int) -> None:
    fitted = Selector(SETTINGS).fit(training(120, seed, noise=True), PRODUCTS, TABLE)
    assert fitted.estimate["bleu"] >= fitted.estimate["last_title"]


@pytest.mark.parametrize("cold", [False, True])
def test_what_describes_a_session_does_not_change_with_its_target(cold: bool) -> None:
    seen = []
    for target in ("I33", "I70"):
        others = training(40)
        planted = TrainingSessions.of([["I00", "I11", target]], ["US"])
        settings = SelectSettings(**QUICK | {"cold": cold})
        learnt = learn_folds(Fusion(ranker_settings_of(settings)), others.joined(planted), PRODUCTS, TABLE)
        first = TABLE.titles_of(pa.array(["US"]), pa.array(["I00"]))[0]
        last = TABLE.titles_of(pa.array(["US"]), pa.array(["I11"]))[0]
        for part in learnt.parts:
            for row in np.flatnonzero(part.own.ends == last):
                titles = part.own.values[part.own.offsets[row] : part.own.offsets[row + 1]]
                if titles.tolist() == [first, last]:
                    seen.append(sorted(part.evidence.titles[part.evidence.rows == row].tolist()))
    assert len(seen) == 2
    if not cold:  # where targets are taken out of what is known, another target takes another item out
        assert seen[0] == seen[1]


def test_saved_and_loaded_it_chooses_the_same(selector: Selector, tmp_path: Path) -> None:
    selector.save(tmp_path / "kept")
    kinds = {path.suffix for path in (tmp_path / "kept").rglob("*") if path.is_file()}
    assert kinds <= {".json", ".safetensors"}
    again = Selector.load(tmp_path / "kept")
    assert again.select(asked(), TABLE) == selector.select(asked(), TABLE)
    assert again.tokenizers == selector.tokenizers == {"JP": "char"}
    record = tmp_path / "kept" / "selector.json"
    rewrite(record, {}, without=("tokenizers",))
    with pytest.raises(ConfigError, match="learnt from JP titles by 13a, now char; give TitleTable these"):
        Selector.load(tmp_path / "kept").select(asked(), TABLE)
    assert Selector.load(tmp_path / "kept").select(asked(), TitleTable(PRODUCTS, {}))
    (tmp_path / "kept" / "selector.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="damaged"):
        Selector.load(tmp_path / "kept")


def test_one_that_learnt_from_shortened_titles_is_to_be_made_again(
    selector: Selector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    selector.save(tmp_path / "kept")
    monkeypatch.setattr(Trees, "feature_names", lambda self: ["age", "kept"])  # as those of earlier versions
    with pytest.raises(ModelError, match=r"shortened titles, which are no longer offered.*make it again"):
        Selector.load(tmp_path / "kept")


def test_a_batch_equals_one_by_one(selector: Selector) -> None:
    every = asked(12)
    single = [selector.select(every.slice(place, 1), TABLE)[0] for place in range(len(every))]
    assert selector.select(every, TABLE) == single


def test_unknown_items_and_locales_do_not_crash(selector: Selector) -> None:
    strange = Sessions.of([["nothing"], [], ["I00"]], ["US", "US", "ZZ"])
    assert len(selector.select(strange, TABLE)) == 3


def test_an_unknown_name_to_switch_off_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'likely'"):
        Selector(SelectSettings(without=("likly",)))


def test_an_ablation_says_what_kinds_and_rankers_are_worth() -> None:
    rows = ablate_selector(SETTINGS, training(), PRODUCTS, TABLE, ["likely", "covisit_near"])
    assert [row.off for row in rows] == ["", "likely", "covisit_near"]
    assert rows[1].changes["bleu"].high < 0  # the next title is not among a session's own in this shop
    assert rows[2].scores["bleu"] - rows[0].scores["bleu"] == pytest.approx(rows[2].changes["bleu"].difference)


def run_of(path: Path, rows: Any, locales: list[str]) -> Path:
    write_run(path, locales, rows, {})
    return path


def test_given_titles_and_ids_can_be_chosen(selector: Selector, tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    selector.save(tmp_path / "kept")
    locales = pq.read_table(store.path / "sessions_test.parquet")["locale"].to_pylist()
    titles = run_of(tmp_path / "titles.parquet", ["Brand0 Bolt kind 0, new"] * len(locales), locales)
    ids = run_of(tmp_path / "ids.parquet", [["I00", "I01"]] * len(locales), locales)
    out = tmp_path / "out.parquet"
    run_select_job(SelectJob(data=store.path, load=tmp_path / "kept", out=out, candidates=[titles, ids]))
    assert len(read_run(out)) == len(locales)


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        ([["I00"]] * 29, None, "29 rows for 30 sessions"),
        ([["I00"]] * 30, "other order", "row 1: locale"),
        ([["I00"]] * 4 + [[]] + [["I00"]] * 25, None, "row 5: an empty list of candidates"),
        ([["ELSEWHERE"]] * 30, None, "row 1: 'ELSEWHERE' and all other ids are no products of this store"),
    ],
)
def test_a_run_that_does_not_belong_is_one_line(tmp_path: Path, rows: Any, change: str | None, message: str) -> None:
    store = write_store(tmp_path / "store")
    locales = pq.read_table(store.path / "sessions_test.parquet")["locale"].to_pylist()[: len(rows)]
    if change:
        locales = [{"US": "JP", "JP": "US"}[name] for name in locales]
    run = run_of(tmp_path / "given.parquet", rows, locales)
    with pytest.raises(DataError, match=message) as caught:
        run_select_job(SelectJob(data=store.path, out=tmp_path / "out.parquet", candidates=[run]))
    assert "given.parquet" in str(caught.value)


def test_the_command_learns_writes_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, out = write_store(tmp_path / "store"), tmp_path / "run.parquet"
    settings = [word for name, value in QUICK.items() if name != "sources" for word in ("--set", f"{name}={value}")]
    settings += ["--set", "sources=[covisit_near, title_vectors]"]
    command = ["select", "--data", str(store.path), "--out", str(out), *settings]
    monkeypatch.setattr("llmrec.selection.select_titles.CHUNK", 8)
    with pytest.raises(SystemExit) as stop:
        main([*command, "--save", str(tmp_path / "kept"), "--last-title", str(tmp_path / "last.parquet")])
    assert stop.value.code == 0
    assert "out of fold" in capsys.readouterr().err
    run, last = read_run(out), read_run(tmp_path / "last.parquet")
    assert (run.kind, len(run), len(last)) == ("titles", 30, 30)
    assert run.provenance["estimate"]["sessions"] > 0
    assert not list(tmp_path.glob("*.parts"))
    # a killed run leaves its chunks; the same command takes them as they are
    chosen = run.predictions.to_pylist()
    calls = []
    plain = Selector.select
    monkeypatch.setattr(Selector, "select", lambda *given: calls.append(1) or plain(*given))
    monkeypatch.setattr("llmrec.selection.select_titles.write_run", _killed)
    job = SelectJob(data=store.path, load=tmp_path / "kept", out=out)
    with pytest.raises(KeyboardInterrupt):
        run_select_job(job)
    monkeypatch.undo()
    monkeypatch.setattr("llmrec.selection.select_titles.CHUNK", 8)
    assert len(calls) == 4
    part = min((tmp_path / "run.parts").iterdir())
    part.write_text(part.read_text(encoding="utf-8").replace("e", "i"), encoding="utf-8")  # a damaged one is made again
    monkeypatch.setattr(Selector, "select", lambda *given: calls.append(1) or plain(*given))
    run_select_job(job)
    assert len(calls) == 5
    assert read_run(out).predictions.to_pylist() == chosen


def _killed(*_: Any, **__: Any) -> None:
    raise KeyboardInterrupt


def test_development_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "store")
    with pytest.raises(ConfigError, match="learns from development"):
        run_select_job(SelectJob(data=store.path, split="development", out=tmp_path / "out.parquet"))


def test_a_writer_learns_beside_it_is_saved_and_its_titles_can_be_chosen(tmp_path: Path) -> None:
    fitted = Selector(SelectSettings(**QUICK, writers=("edit",))).fit(training(), PRODUCTS, TABLE)
    alone = Selector(SETTINGS).fit(training(), PRODUCTS, TABLE)
    assert {way: one.editor is not None for way, one in fitted.choices.items()} == {"13a": True, "char": True}
    assert fitted.estimate["oracle"] >= alone.estimate["oracle"]
    assert fitted.estimate["gain"][1] > 0
    fitted.save(tmp_path / "kept")
    again = Selector.load(tmp_path / "kept")
    every = asked(12)
    titles = fitted.select(every, TABLE)
    assert again.select(every, TABLE) == titles
    assert [again.select(every.slice(place, 1), TABLE)[0] for place in range(len(every))] == titles
    assert len(again.select(Sessions.of([["nothing"], [], ["I00"]], ["US", "US", "ZZ"]), TABLE)) == 3
    with pytest.raises(ConfigError, match="did you mean 'edit'"):
        Selector(SelectSettings(writers=("edits",)))


def test_what_a_writer_learns_from_for_a_session_does_not_change_with_its_target() -> None:
    taught = []
    settings = SelectSettings(**QUICK, writers=("edit",))
    first, last = TABLE.titles_of(pa.array(["US", "US"]), pa.array(["I00", "I11"])).tolist()
    for target in ("I33", "I70"):
        whole = training(40).joined(TrainingSessions.of([["I00", "I11", target]], ["US"]))
        learnt = learn_folds(Fusion(ranker_settings_of(settings)), whole, PRODUCTS, TABLE, settings.writers)
        for part in learnt.parts:
            if [first, last] in [part.own.take(np.array([row])).values.tolist() for row in range(len(part.own))]:
                assert part.taught is not None
                taught.append([part.taught[0].values.tolist(), part.taught[1].tolist()])
    assert taught[0] == taught[1]
    assert len(taught[0][1]) > 10


@pytest.mark.parametrize(("low", "said"), [(-2.9, True), (0.0, True), (2.9, False)])
def test_a_gain_that_is_not_sure_is_said_to_change_nothing(low: float, said: bool) -> None:
    estimate = {"sessions": 16, "bleu": 23.7, "last_title": 23.7, "by_risk_alone": 23.7, "oracle": 34.2, "changed": 0.0}
    line = describe_estimate(estimate | {"gain": [3.5, low, 8.3]})
    assert ("(not sure, so the last title stays)" in line) == said
