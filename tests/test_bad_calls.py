"""What people give by mistake from Python: an error of ours that names the argument and the way out, or an answer.

Where the command line can be given the same, its line says the same with a flag's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import llmrec
from llmrec.cli import main
from llmrec.errors import ConfigError, DataError, LlmrecError, ModelError, StoreError
from llmrec.rankers.base import Ranker

FRAME = pd.DataFrame(
    {"prev_items": [["a", "b"], ["b"], ["c", "a"]], "next_item": ["b", "a", "c"], "locale": ["UK", "UK", "DE"]}
)
SHOP = pd.DataFrame(
    {"id": ["a", "b", "c"], "locale": ["UK", "UK", "DE"], "title": ["red cup", "red tea pot", "blaue Tasse"]}
)
ODD: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "number": lambda: 3.5,
    "nan": lambda: float("nan"),
    "bytes": lambda: b"B01",
    "text": lambda: "B01",
    "empty text": lambda: "",
    "truth": lambda: True,
    "texts": lambda: ["a", "b"],
    "numbers": lambda: [[1, 2]],
    "nothing inside": lambda: [[None]],
    "nested": lambda: [[["a"]]],
    "set": lambda: {"a"},
    "sets": lambda: [{"a", "b"}],
    "mapping": lambda: {"a": "b"},
    "generator": lambda: (one for one in ["a"]),
    "generator of lists": lambda: (one for one in [["a"]]),
    "array": lambda: np.array([["a", "b"]]),
    "array of objects": lambda: np.array([["a"], ["b", "c"]], dtype=object),
    "array of no dimension": lambda: np.array("a"),
    "series": lambda: FRAME.prev_items,
    "frame": lambda: FRAME,
    "no columns": pd.DataFrame,
    "columns twice": lambda: pd.concat([FRAME, FRAME], axis=1),
    "ids of numbers": lambda: FRAME.assign(prev_items=[[1], [2], [3]], next_item=[1, 2, 3]),
    "printed lists": lambda: FRAME.assign(prev_items=["['a' 'b']", "['b']", "['c']"]),
    "mixed": lambda: FRAME.assign(prev_items=[["a", 1], ["b"], ["c"]]),
    "arrow": lambda: pa.Table.from_pandas(FRAME),
    "arrow column": lambda: pa.chunked_array([["a"]]),
    "arrow reader": lambda: pa.Table.from_pandas(FRAME).to_reader(),
    "products": lambda: SHOP,
    "products of mixed titles": lambda: SHOP.assign(title=["a", 1, None]),
    "no path": lambda: "a\0b",
    "long path": lambda: "x" * 5000,
    "missing": lambda: Path("nowhere"),
    "half a character": lambda: [["\ud800"]],
    "class": lambda: dict,
    "object": object,
}


@pytest.fixture(scope="module")
def ranker() -> Any:
    return llmrec.fit("covisit", FRAME)


@pytest.fixture(scope="module")
def products(tmp_path_factory: pytest.TempPathFactory) -> llmrec.SimilarProducts:
    return llmrec.SimilarProducts.build(SHOP, tmp_path_factory.mktemp("shop") / "titles")


CALLS: dict[str, Callable[..., Any]] = {
    "sessions data": lambda odd, **_: llmrec.sessions(odd),
    "sessions locale": lambda odd, **_: llmrec.sessions([["a"]], odd),
    "fit ranker": lambda odd, **_: llmrec.fit(odd, FRAME),
    "fit training": lambda odd, **_: llmrec.fit("popularity", odd),
    "fit products": lambda odd, **_: llmrec.fit("popularity", FRAME, odd),
    "fit sessions": lambda odd, **_: llmrec.fit("popularity", FRAME, sessions=odd),
    "fit transductive": lambda odd, **_: llmrec.fit("popularity", FRAME, sessions=[["q"]], transductive=odd),
    "fit recipe": lambda odd, **_: llmrec.fit("popularity", FRAME, recipe=odd),
    "fit seed": lambda odd, **_: llmrec.fit("popularity", FRAME, seed=odd),
    "fit start": lambda odd, **_: llmrec.fit("popularity", FRAME, start=odd),
    "fit folder": lambda odd, **_: llmrec.fit("popularity", FRAME, folder=odd),
    "fit setting": lambda odd, **_: llmrec.fit("covisit", FRAME, history=odd),
    "rank sessions": lambda odd, ranker, **_: ranker.rank(odd),
    "rank k": lambda odd, ranker, **_: ranker.rank(FRAME, odd),
    "rank seen": lambda odd, ranker, **_: ranker.rank(FRAME, 2, odd),
    "rank locale": lambda odd, ranker, **_: ranker.rank([["a"]], locale=odd),
    "rank_session items": lambda odd, ranker, **_: ranker.rank_session(odd, "UK"),
    "rank_session locale": lambda odd, ranker, **_: ranker.rank_session(["a"], odd),
    "update ranker": lambda odd, **_: llmrec.update(odd, FRAME),
    "update sessions": lambda odd, ranker, **_: llmrec.update(ranker, odd),
    "update products": lambda odd, ranker, **_: llmrec.update(ranker, [["q"]], odd),
    "update half_life": lambda odd, ranker, **_: llmrec.update(ranker, [["q"]], half_life=odd),
    "update date": lambda odd, ranker, **_: llmrec.update(ranker, [["q"]], date=odd),
    "update locale": lambda odd, ranker, **_: llmrec.update(ranker, [["q"]], locale=odd),
    "rerank rankings": lambda odd, **_: llmrec.rerank(odd, [["a"]], SHOP, "nowhere"),
    "rerank sessions": lambda odd, **_: llmrec.rerank([["a"]], odd, SHOP, "nowhere"),
    "rerank products": lambda odd, **_: llmrec.rerank([["a", "b"]], [["a"]], odd, "nowhere", locale="UK"),
    "rerank cache": lambda odd, **_: llmrec.rerank([["a", "b"]], [["a"]], SHOP, "nowhere", cache=odd),
    "rerank locale": lambda odd, **_: llmrec.rerank([["a"]], [["a"]], SHOP, "nowhere", locale=odd),
    "rerank top": lambda odd, **_: llmrec.rerank([["a"]], [["a"]], SHOP, "nowhere", top=odd),
    "rerank weight": lambda odd, **_: llmrec.rerank([["a"]], [["a"]], SHOP, "nowhere", weight=odd),
    "rerank server": lambda odd, **_: llmrec.rerank([["a"]], [["a"]], SHOP, "m", method="list", server=odd),
    "save": lambda odd, ranker, **_: ranker.save(odd),
    "load_ranker": lambda odd, **_: llmrec.load_ranker(odd),
    "open_store": lambda odd, **_: llmrec.open_store(odd),
    "evaluate predictions": lambda odd, **_: llmrec.evaluate(odd, ["a", "b", "a"], samples=10),
    "evaluate targets": lambda odd, **_: llmrec.evaluate([["a"], ["b"], ["c"]], odd, samples=10),
    "evaluate titles": lambda odd, **_: llmrec.evaluate(["a", "b", "c"], odd, samples=10),
    "evaluate products": lambda odd, **_: llmrec.evaluate(["a", "b", "c"], FRAME, products=odd, samples=10),
    "evaluate compare": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], compare=odd, samples=10),
    "evaluate train": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], train=odd, samples=10),
    "evaluate by": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], by=odd, samples=10),
    "evaluate sessions": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], by=["length"], sessions=odd, samples=10),
    "evaluate hits": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], hits=odd, samples=10),
    "evaluate cutoffs": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], cutoffs=odd, samples=10),
    "evaluate beyond": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], beyond=odd, samples=10),
    "evaluate samples": lambda odd, **_: llmrec.evaluate([["a"]], ["a"], samples=odd),
    "search titles": lambda odd, products, **_: products.search(odd),
    "search k": lambda odd, products, **_: products.search(["cup"], odd),
    "search locale": lambda odd, products, **_: products.search(["cup"], locale=odd),
    "by_product": lambda odd, products, **_: products.by_product(odd),
    "by_session": lambda odd, products, **_: products.by_session(odd),
    "by_session recency": lambda odd, products, **_: products.by_session(["a"], recency=odd),
    "load products": lambda odd, **_: llmrec.SimilarProducts.load(odd),
    "build products": lambda odd, **_: llmrec.SimilarProducts.build(odd, "built"),
    "register_ranker": lambda odd, **_: llmrec.register_ranker(odd),
    "register_metric": lambda odd, **_: llmrec.register_metric(odd, odd),
    "register_candidate_source": lambda odd, **_: llmrec.register_candidate_source(odd, odd),
    "register_encoder": lambda odd, **_: llmrec.register_encoder(odd, odd),
    "load titles": lambda odd, **_: llmrec.TitleWriter.load(odd),
    "save titles": lambda odd, **_: llmrec.Titles(["a"], ["UK"]).save(odd),
}


def odd(name: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Odd values for a call, made anew; of a title model no text, which names one of the hub."""
    return ((what, make) for what, make in ODD.items() if name != "load titles" or not isinstance(make(), str))


def refusal(call: Callable[[], Any]) -> str | None:
    """The line of an error of ours; None for an answer."""
    try:
        call()
    except LlmrecError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CALLS)
def test_an_odd_argument_is_answered_or_refused_in_a_line(
    name: str, ranker: Any, products: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def line_of(make: Callable[[], Any]) -> str | None:
        return refusal(lambda: CALLS[name](make(), ranker=ranker, products=products))

    told = {what: line for what, make in odd(name) if (line := line_of(make)) is not None}
    assert len(told) > 10
    for what, line in told.items():
        assert "\n" not in line, what
        assert not re.search(r"--\w", re.sub(r"(llmrec|pip) [^;`]*", "", line)), (what, line)


@pytest.mark.parametrize(
    ("call", "error", "line"),
    [
        (lambda: llmrec.sessions("B01"), DataError, "data: no file 'B01'; ids are given as a list of lists: [['B01']]"),
        (lambda: llmrec.sessions(["B01"]), DataError, "data: a list of lists of ids is wanted; for one session write"),
        (lambda: llmrec.sessions([{"a"}]), DataError, "data, row 1: a session is a list of ids; got {'a'}"),
        (lambda: llmrec.sessions([["a\nb"]]), DataError, "data, row 1: a control character inside an id; remove it"),
        (
            lambda: llmrec.sessions(FRAME.assign(prev_items=[["a"], ["b", float("nan")], []])),
            DataError,
            "data, row 2: an id is missing (None, NaN or empty); leave it out of its list",
        ),
        (
            lambda: llmrec.sessions(FRAME.set_index("locale")),
            DataError,
            "data: 'locale' is the data frame's index; make it a column: reset_index()",
        ),
        (
            lambda: llmrec.sessions(FRAME.assign(prev_items=[{"a"}, {"b"}, {"c"}])),
            DataError,
            "data, row 1: column 'prev_items' must hold lists of ids, which are text; got {'a'}",
        ),
        (
            lambda: llmrec.fit("covisit", FRAME, SHOP.assign(id=[1, 2, 3])),
            DataError,
            "products: column 'id' must hold text; got 1",
        ),
        (lambda: llmrec.fit("covisit", FRAME, "x.csv"), DataError, "products: no file 'x.csv'; give a data frame"),
        (lambda: llmrec.fit(FRAME, "covisit"), ConfigError, "ranker must be text or a subclass of Ranker; got a DataF"),
        (lambda: llmrec.fit("covisit", FRAME, seed="0"), ConfigError, "seed must be a whole number; got '0'"),
        (lambda: llmrec.open_store(None), ConfigError, "path must be a path; got None"),
        (lambda: llmrec.evaluate(SHOP, ["a"]), DataError, "predictions: give what rank() or write() gave, or a list"),
        (lambda: llmrec.evaluate(["a"], ["a"], by="locale"), ConfigError, "for one write ['locale']"),
        (lambda: llmrec.evaluate([["a"]], ["a"], samples=0), ConfigError, "samples must be at least 1; got 0"),
        (
            lambda: llmrec.register_metric("a b", len),
            ConfigError,
            "metric 'a b': a function of ranks and k, with a name",
        ),
    ],
)
def test_the_line_names_the_argument_and_the_way_out(call: Any, error: type[LlmrecError], line: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert line in str(raised.value)


def test_generators_arrays_and_dictionary_columns_are_answered(ranker: Ranker[Any], products: Any) -> None:
    wanted = ranker.rank([["a"], ["b"]], 2).to_list()
    ids = pa.array([["a"], ["b"]], pa.list_(pa.dictionary(pa.int32(), pa.string())))
    for same in (
        (one for one in [["a"], ["b"]]),
        np.array([["a"], ["b"]]),
        pd.Series([["a"], ["b"]]),
        pa.table({"prev_items": ids}),
        pa.table({"prev_items": ids}).to_reader(),
        ids.cast(pa.large_list(pa.large_string())),
    ):
        assert ranker.rank(same, np.int64(2)).to_list() == wanted
    assert ranker.rank_session(np.array(["a"]), "UK", 2) == ranker.rank_session(["a"], "UK", 2)
    frame = FRAME.assign(locale=FRAME.locale.astype("category"))
    assert ranker.rank(frame).to_list() == ranker.rank(FRAME).to_list()
    assert products.search(pd.Series(["cup"])) == products.search(["cup"])
    scores = llmrec.evaluate(np.array([["a"], ["b"]]), pd.Series(["a", None]), samples=10)
    assert (scores.n_sessions, scores.n_without_target) == (1, 1)


@pytest.fixture
def kinds(tiny_store: llmrec.Store, title_model: Path, ranker: Any, products: Any, tmp_path: Path) -> dict[str, Path]:
    """A folder of each kind that the package writes."""
    found = {"a store": tiny_store.path, "a language model": title_model}
    found |= {"a ranker": tmp_path / "ranker", "rankers by locale": tmp_path / "by_locale"}
    ranker.save(found["a ranker"])
    llmrec.fit("popularity", FRAME, per_locale=True).save(found["rankers by locale"])
    titles = Path(products._embeddings.path)
    found |= {"vectors of titles": titles, "an encoder": titles / "encoder", "an index": titles / "index"}
    found["a title selector"] = tmp_path / "selector"
    found["a title selector"].mkdir()
    (found["a title selector"] / "selector.json").write_text("{}", encoding="utf-8")
    found["run"], found["result"] = tmp_path / "run.parquet", tmp_path / "result.json"
    ranker.rank(FRAME).save(found["run"])
    llmrec.evaluate([["a"]], ["a"], samples=10).save(found["result"])
    found["empty"] = tmp_path / "empty"
    found["empty"].mkdir()
    return found


LOADERS: dict[str, tuple[Callable[[Path], Any], type[LlmrecError], str, tuple[str, ...]]] = {
    "ranker": (llmrec.load_ranker, ModelError, "no ranker here", ("a ranker", "rankers by locale")),
    "store": (llmrec.open_store, StoreError, "no store here", ("a store",)),
    "products": (llmrec.SimilarProducts.load, StoreError, "no embeddings here", ("vectors of titles",)),
    "titles": (llmrec.TitleWriter.load, ModelError, "no model here", ("a language model",)),
}


@pytest.mark.parametrize("name", LOADERS)
def test_a_folder_of_another_kind_is_told_what_it_is(name: str, kinds: dict[str, Path]) -> None:
    load, error, line, own = LOADERS[name]
    for kind, place in kinds.items():
        if kind in own:
            load(place)
            continue
        with pytest.raises(error) as raised:
            load(place)
        held = "" if kind in ("run", "result", "empty") else f" but {kind}"
        assert f"{line}{held} (" in str(raised.value) or f"{line}{held};" in str(raised.value), kind
        assert str(place) in str(raised.value)
        assert " --" not in str(raised.value).partition("llmrec data")[0]


@pytest.mark.parametrize(
    ("give", "line"),
    [
        (lambda place: llmrec.sessions(place), "no file but {kind} is at '{place}'"),
        (lambda place: llmrec.fit("popularity", FRAME, place), "products: no file but {kind} is at '{place}'"),
        (lambda place: llmrec.evaluate(place, ["a"]), "predictions: no file but {kind} is at '{place}'"),
        (lambda place: llmrec.evaluate([["a"]], place), "targets: no file but {kind} is at '{place}'"),
    ],
)
def test_a_folder_where_a_file_belongs_is_told_what_it_is(give: Any, line: str, kinds: dict[str, Path]) -> None:
    for kind in ("a store", "a ranker", "vectors of titles", "a language model"):
        with pytest.raises(DataError) as raised:
            give(kinds[kind])
        assert line.format(kind=kind, place=kinds[kind]) in str(raised.value)


def test_a_store_that_went_after_it_was_opened_is_told(tiny_store: llmrec.Store) -> None:
    store = llmrec.open_store(tiny_store.path)
    (store.path / "sessions_validation.parquet").unlink()
    with pytest.raises(StoreError, match=r"sessions_validation\.parquet"):
        store.sessions("validation")
    with pytest.raises(StoreError, match="no split 'tests'; this store has development"):
        store.targets("tests")


def said(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    with pytest.raises(SystemExit) as stopped:
        main([str(word) for word in words])
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_the_command_line_says_the_same_of_flags(
    kinds: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    store, titles, ranker = kinds["a store"], kinds["vectors of titles"], kinds["a ranker"]
    asked, train = (store / f"sessions_{name}.parquet" for name in ("validation", "development"))
    rank = ("rank", "covisit", "--train", train, "--sessions", asked, "--out", tmp_path / "out.parquet")
    fitted = llmrec.load_ranker(ranker)
    products = llmrec.SimilarProducts.load(titles)
    pairs: list[tuple[Callable[[], Any], tuple[str | Path, ...], str, str]] = [
        (lambda: fitted.rank(FRAME, 0), (*rank, "--k", "0"), "k must be at least 1; got 0", "--k must be at least 1"),
        (
            lambda: llmrec.fit("covisit", FRAME, history=0),
            (*rank, "--set", "history=0"),
            "history must be at least 1; got 0",
            "history must be at least 1; got 0",
        ),
        (
            lambda: llmrec.fit("covisit", FRAME, histroy=2),
            (*rank, "--set", "histroy=2"),
            "unknown key 'histroy'; did you mean 'history'?",
            "unknown key 'histroy'; did you mean 'history'?",
        ),
        (
            lambda: llmrec.load_ranker(store),
            ("rank", "covisit", "--load", store, "--sessions", asked, "--out", tmp_path / "o.parquet"),
            "no ranker here but a store",
            "no ranker here but a store",
        ),
        (
            lambda: llmrec.SimilarProducts.load(ranker),
            ("similar", ranker, "cup"),
            "no embeddings here but a ranker",
            "no embeddings here but a ranker",
        ),
        (
            lambda: products.search(["cup"], locale="XX"),
            ("similar", titles, "cup", "--locale", "XX"),
            "no products of locale 'XX' in the index",
            "no products of locale 'XX' in the index",
        ),
        (lambda: products.search(["cup"], 0), ("similar", titles, "cup", "--k", "0"), "k must be", "--k must be"),
        (
            lambda: llmrec.TitleWriter.load(store),
            ("generate", "--model", store, "--data", store),
            "no model here but a store",
            "no model here but a store",
        ),
        (
            lambda: llmrec.evaluate(store, ["a"]),
            ("evaluate", store, "--targets", asked),
            "predictions: no file but a store",
            "no such run",
        ),
    ]
    for call, words, told, typed in pairs:
        with pytest.raises(LlmrecError) as raised:
            call()
        assert told in str(raised.value)
        assert not re.search(r"--k|--set", str(raised.value))
        assert typed in " ".join(said(capsys, *words).split()), words
