"""A language model orders the first candidates of a run: by brute force the same, none invented, nothing lost."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import llmrec
from llmrec.cli import status_of
from llmrec.errors import ConfigError, DataError, LlmrecError, ModelError
from llmrec.evaluation.runs import read_run
from llmrec.reranking import by_model
from llmrec.reranking.candidates import Candidates
from llmrec.reranking.methods import odds_of, order_of, orders_of
from llmrec.reranking.rerank import _ordered
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.model import load_model
from llmrec.titles.prompting.affixes import build_affixes
from llmrec.titles.prompting.title_tokenizer import TitleTokenizer
from tests.conftest import ABSENT, TITLES, UNTITLED
from tests.titles.lab.chat_faults import ChatFaults, Handler, serving, status
from tests.titles.tiny_llm import write_tiny_llm

LISTS = [["X2", "X4", ABSENT, "X3", UNTITLED, "X1"], ["X4", "X0"], ["X1"], []]
SESSIONS = [["X0", "X1"], ["X3"], ["X0"], ["X0"]]
SHOP = [f"X{number}" for number in range(5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    texts = [title for titles in TITLES.values() for title in titles]
    return str(write_tiny_llm(tmp_path_factory.mktemp("rerank") / "model", texts, kind="llama", chat=False))


def reranked(model: str, store: llmrec.Store, lists: Any = LISTS, sessions: Any = SESSIONS, **more: Any) -> Any:
    return llmrec.rerank(lists, sessions, store, model, locale="UK", **more)


class Plain:
    """The model by itself, without any of what is to be tested."""

    def __init__(self, folder: str) -> None:
        self.model, tokenizer = load_model(folder)
        self.encoder = TitleTokenizer(tokenizer, build_affixes(tokenizer, chat=False))

    def log_probs(self, prompt: str) -> Any:
        """After a prompt, and then after each of some tokens."""
        (context,) = self.encoder.encode_prompts([prompt])

        def after(given: Sequence[int]) -> Any:
            with torch.no_grad():
                logits = self.model(input_ids=torch.tensor([[*context, *given]])).logits[0, -1]
            return torch.log_softmax(logits, -1)

        return after

    def likelihood(self, prompt: str, title: str) -> float:
        after, ids = self.log_probs(prompt), self.encoder.encode([title])[0][:-1]
        return sum(after(ids[:place])[token].item() for place, token in enumerate(ids)) / len(ids)

    def odds(self, prompt: str) -> float:
        yes, no = (self.encoder.encode([word])[0][0] for word in ("Yes", "No"))
        values = self.log_probs(prompt)([])
        return (values[yes] - values[no]).item()


def wanted(scores: dict[str, float], given: Sequence[str] = LISTS[0]) -> list[str]:
    """The list in the order of the scores, others where they were."""
    best = iter(sorted(scores, key=lambda item: -scores[item]))
    return [next(best) if item in scores else item for item in given]


def test_likelihood_orders_as_the_plain_model_does(model: str, tiny_store: llmrec.Store) -> None:
    plain, titles = Plain(model), dict(zip(SHOP, TITLES["UK"], strict=True))
    prompt = load_prompt("instruct").render([{"title": titles[item]} for item in SESSIONS[0]], "UK")
    scores = {item: plain.likelihood(prompt, titles[item]) for item in ("X2", "X4", "X3", "X1")}
    found = reranked(model, tiny_store)
    assert found.to_list() == [wanted(scores), found.to_list()[1], ["X1"], []]
    assert sorted(found.to_list()[1]) == ["X0", "X4"]
    best = sorted(scores.values(), reverse=True)
    assert found.scores[0].as_py()[:2] == pytest.approx(best[:2], abs=1e-4)
    bare = load_prompt("instruct").render([], "UK")
    gains = {item: score - plain.likelihood(bare, titles[item]) for item, score in scores.items()}
    assert reranked(model, tiny_store, method="pmi").to_list()[0] == wanted(gains)
    mixed = {item: 0.5 * score - 0.5 * math.log(1 + LISTS[0].index(item)) for item, score in scores.items()}
    assert reranked(model, tiny_store, weight=0.5).to_list()[0] == wanted(mixed)
    assert reranked(model, tiny_store, weight=0).to_list() == LISTS


def test_yes_and_list_order_as_the_plain_model_does(model: str, tiny_store: llmrec.Store) -> None:
    plain, titles = Plain(model), dict(zip(SHOP, TITLES["UK"], strict=True))
    products = [{"title": titles[item]} for item in SESSIONS[0]]
    shown = ["X2", "X4", "X3", "X1"]

    def prompt(name: str, items: Sequence[str]) -> str:
        candidates = [{"label": label, "title": titles[item]} for label, item in zip("ABCD", items, strict=False)]
        return load_prompt(f"rerank/{name}").render(products, "UK", candidates)

    odds = {item: plain.odds(prompt("yes", [item])) for item in shown}
    assert reranked(model, tiny_store, method="yes").to_list()[0] == wanted(odds)
    ranks = dict.fromkeys(shown, 0.0)
    for order in orders_of(4, 4, (7, 0)):
        items = [shown[place] for place in order]
        values = plain.log_probs(prompt("list", items))([])
        by = {
            item: values[plain.encoder.encode([label])[0][0]].item() for label, item in zip("ABCD", items, strict=True)
        }
        for rank, item in enumerate(sorted(by, key=lambda item: -by[item])):
            ranks[item] += 1 + rank
    found = reranked(model, tiny_store, method="list", shuffles=4, seed=7)
    assert found.to_list()[0] == wanted({item: -rank for item, rank in ranks.items()})


def test_a_model_with_an_encoder_and_its_own_prompt(title_model: Path, tiny_store: llmrec.Store) -> None:
    found = reranked(str(title_model), tiny_store)
    assert found.provenance["prompt"] == "next_title/plain_v1"
    assert found.provenance["k"] == 2
    assert [sorted(one) for one in found.to_list()] == [sorted(one) for one in LISTS]
    assert reranked(str(title_model), tiny_store, method="yes", max_source_tokens=300).provenance["method"] == "yes"


@pytest.mark.parametrize("method", ["likelihood", "pmi", "yes"])
def test_what_is_asked_of_each_alone_does_not_hang_on_their_order(
    method: str, model: str, tiny_store: llmrec.Store
) -> None:
    lists = [SHOP, SHOP[::-1], ["X3", "X0", "X4", "X1", "X2"]]
    found = reranked(model, tiny_store, lists, [["X0", "X1"]] * 3, method=method).to_list()
    assert found[0] == found[1] == found[2]


@given(
    st.lists(st.permutations([*SHOP, UNTITLED, ABSENT, "B99"]).map(lambda ids: ids[:6]), min_size=1, max_size=4),
    st.sampled_from(["likelihood", "yes", "list"]),
    st.integers(2, 6),
)
@settings(max_examples=8)
def test_no_id_is_invented_or_lost_and_the_rest_keeps_its_place(
    model: str, shop_of: llmrec.Store, lists: list[list[str]], method: str, top: int
) -> None:
    found = reranked(model, shop_of, lists, [["X0", "X1"]] * len(lists), method=method, top=top, shuffles=1)
    for before, after, scores in zip(lists, found.to_list(), found.scores.to_pylist(), strict=True):
        assert sorted(after) == sorted(before)
        assert after[top:] == before[top:]
        assert [after[at] for at, item in enumerate(before) if item not in SHOP] == [
            item for item in before if item not in SHOP
        ]
        assert scores == sorted(scores, reverse=True)


@pytest.fixture(scope="module")
def shop_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    rows = [{"id": item, "locale": "UK", "title": title} for item, title in zip(SHOP, TITLES["UK"], strict=True)]
    return pa.Table.from_pylist([*rows, {"id": UNTITLED, "locale": "UK", "title": " "}])


@given(st.integers(1, 8), st.data())
def test_any_scores_give_a_permutation_with_falling_scores(count: int, data: st.DataObject) -> None:
    ids = [f"B{number}" for number in range(count)]
    places = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    scores = data.draw(st.lists(st.floats(-20, 20), min_size=len(places), max_size=len(places)))
    one = Candidates("UK", [{"title": "tea"}], places, ["cup"] * len(places))
    lists, values = _ordered(pa.array([ids]), [one], {0: scores}, data.draw(st.floats(0, 1)))
    assert sorted(lists.to_pylist()[0]) == ids
    assert all(item == ids[at] for at, item in enumerate(lists.to_pylist()[0]) if at not in places)
    assert values.to_pylist()[0] == sorted(values.to_pylist()[0], reverse=True)


def test_every_second_order_is_the_one_before_backwards() -> None:
    orders = orders_of(5, 4, (0, 3))
    assert [sorted(order) for order in orders] == [[0, 1, 2, 3, 4]] * 4
    assert orders[1] == orders[0][::-1]
    assert orders[3] == orders[2][::-1]
    assert orders == orders_of(5, 4, (0, 3)) != orders_of(5, 4, (1, 3))


@pytest.mark.parametrize(
    ("text", "order", "dropped", "missing"),
    [
        ("3 > 1 > 2", [2, 0, 1], 0, 0),
        ("[2] > [2] > 9 > 0", [1, 0, 2], 3, 2),
        ("<think>1 > 2</think>The order: 3", [2, 0, 1], 0, 2),
        ("I cannot tell.", [0, 1, 2], 0, 3),
        ("", [0, 1, 2], 0, 3),
        ("99999999999999999999", [0, 1, 2], 3, 3),
    ],
)
def test_a_written_order_holds_candidates_alone(text: str, order: list[int], dropped: int, missing: int) -> None:
    values, num_dropped, num_missing = order_of(text, 3)
    assert sorted(range(3), key=lambda place: -values[place]) == order
    assert (num_dropped, num_missing) == (dropped, missing)


def test_odds_are_of_the_first_tokens_of_both_words() -> None:
    listed = {" Yes": math.log(0.4), "ye": math.log(0.2), "No": math.log(0.3), "": -1.0, "Maybe": -2.0}
    assert odds_of(listed, "Yes", "No") == pytest.approx(math.log(0.6 / 0.3))
    assert odds_of({"Yes": -0.1}, "Yes", "No") > 20
    assert odds_of({}, "Yes", "No") == 0


@pytest.fixture
def files(tiny_store: llmrec.Store, tmp_path: Path) -> dict[str, Path]:
    """A run, its sessions and its products."""
    store = tiny_store.path
    run = tmp_path / "run.parquet"
    llmrec.fit("popularity", tiny_store.training(), tiny_store).rank(store / "sessions_validation.parquet").save(run)
    return {"run": run, "sessions": store / "sessions_validation.parquet", "products": tiny_store.products}


def typed(files: dict[str, Path], model: str, out: Path, *more: str) -> int:
    paths = ("--sessions", files["sessions"], "--products", files["products"], "--out", out)
    return status_of([str(word) for word in ("rerank", files["run"], "--model", model, *paths, *more)])


def test_the_command_line_writes_what_python_gives(files: dict[str, Path], model: str, tmp_path: Path) -> None:
    out = tmp_path / "reranked.parquet"
    assert typed(files, model, out, "--top", "3", "--method", "pmi") == 0
    written = read_run(out)
    lists = llmrec.rerank(files["run"], files["sessions"], files["products"], model, top=3, method="pmi")
    assert written.predictions.to_pylist() == lists.to_list()
    told = written.provenance
    assert {
        "model": "/".join(Path(model).parts[-2:]),
        "method": "pmi",
        "top": 3,
        "prompt": "next_title/instruct_v1",
    }.items() <= told.items()
    assert told["run"]["ranker"] == "popularity"
    assert told["tokens"] > 0
    assert len(told["weights"]) == 64
    assert told["sessions_fingerprint"] == read_run(files["run"]).sessions_fingerprint
    assert llmrec.evaluate(out, files["sessions"], samples=10).n_sessions
    assert not list(tmp_path.glob("*.sqlite*"))
    assert typed(files, model, tmp_path / "few.parquet", "--limit", "3") == 0
    few = read_run(tmp_path / "few.parquet")
    assert few.partial
    assert len(few) == 3


def test_an_interrupted_run_goes_on_and_ends_as_one_that_was_not(
    files: dict[str, Path], model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert typed(files, model, tmp_path / "whole.parquet", "--method", "list") == 0
    asked: list[int] = []
    original = by_model.log_probs

    def dies(model: Any, groups: Any, **more: Any) -> Any:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(len(groups))
        return original(model, groups, **more)

    out = tmp_path / "again.parquet"
    monkeypatch.setattr(by_model, "log_probs", dies)
    assert typed(files, model, out, "--method", "list") == 130
    assert not out.exists()
    rest: list[int] = []

    def counts(model: Any, groups: Any, **more: Any) -> Any:
        rest.append(len(groups))
        return original(model, groups, **more)

    monkeypatch.setattr(by_model, "log_probs", counts)
    assert typed(files, model, out, "--method", "list") == 0
    assert pq.read_table(out).equals(pq.read_table(tmp_path / "whole.parquet"))
    before = sum(rest)
    assert typed(files, model, out, "--method", "list", "--overwrite") == 0
    assert sum(rest) - before == before + sum(asked)
    assert not list(tmp_path.glob("*.sqlite*"))


def test_answers_in_a_cache_serve_another_weight(
    files: dict[str, Path], model: str, tmp_path: Path, monkeypatch: Any
) -> None:
    cache = ("--cache", str(tmp_path / "answers.sqlite"))
    assert typed(files, model, tmp_path / "one.parquet", *cache) == 0
    monkeypatch.setattr(by_model, "log_probs", lambda *_, **__: pytest.fail("asked again"))
    assert typed(files, model, tmp_path / "other.parquet", *cache, "--weight", "0.3") == 0
    assert (tmp_path / "answers.sqlite").is_file()


def ordering(messages: Any) -> str:
    """The numbers of a question's candidates, backwards, and one that is none."""
    labels = [line[1 : line.index("]")] for line in messages[-1]["content"].splitlines() if line.startswith("[")]
    return " > ".join([*labels[::-1], "77"])


def test_a_server_writes_orders_and_what_is_no_candidate_is_dropped(
    tiny_store: llmrec.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(ChatFaults(answer=ordering)) as server:
        found = reranked("some-model", tiny_store, method="list", server=server.url, shuffles=1)
    (order,) = orders_of(4, 1, (0, 0))
    shown = ["X2", "X4", "X3", "X1"]
    assert [item for item in found.to_list()[0] if item in SHOP] == [shown[place] for place in order[::-1]]
    assert "2 labels named no candidate or one again" in " ".join(capsys.readouterr().err.split())
    assert found.provenance["server"] == server.shown


def test_a_server_that_dies_half_way_loses_no_answer(files: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    out, asked = (
        tmp_path / "out.parquet",
        ("--method", "list", "--shuffles", "1", "--retries", "0", "--concurrency", "1"),
    )
    with serving(ChatFaults(answer=ordering)) as server:
        server.answer = lambda messages: ordering(messages) if len(server.requests) < 6 else 1 / 0  # type: ignore[assignment]
        assert typed(files, "m", out, *asked, "--server", server.url) == 2
        assert not out.exists()
        assert len(capsys.readouterr().err.strip().splitlines()[-1]) < 400
        first = len(server.requests)
        server.answer = ordering
        assert typed(files, "m", out, *asked, "--server", server.url) == 0
        total = len({json.dumps(one["messages"]) for one in server.requests})
        assert len(server.requests) == total + (first - 5)  # the five that came were not asked for again
    assert len(read_run(out)) == 35


def test_yes_needs_probabilities_that_a_server_tells(tiny_store: llmrec.Store) -> None:
    def tells(handler: Handler) -> None:
        listed = [{"token": "Yes", "logprob": -0.1 * len(handler.server.requests)}, {"token": "No", "logprob": -1.0}]
        choice = {"message": {"content": "Yes"}, "logprobs": {"content": [{"top_logprobs": listed}]}}
        handler.reply(200, json.dumps({"choices": [choice]}))

    given = {"method": "yes", "concurrency": 1, "retries": 0}
    with serving(ChatFaults([tells] * 4)) as server:
        found = reranked("m", tiny_store, LISTS[:1], SESSIONS[:1], server=server.url, **given)
        assert found.to_list() == LISTS[:1]  # each answer is less sure than the one before
        assert all(request["max_tokens"] == 1 and request["logprobs"] for request in server.requests)
    with (
        serving(ChatFaults()) as server,
        pytest.raises(ModelError, match=r"no log-probabilities.*--method list|method"),
    ):
        reranked("m", tiny_store, LISTS[:1], SESSIONS[:1], server=server.url, **given)
    with serving(ChatFaults([status(401)])) as server, pytest.raises(ModelError, match="LLMREC_API_KEY"):
        reranked("m", tiny_store, LISTS[:1], SESSIONS[:1], server=server.url, **given)


BAD: list[tuple[dict[str, Any], type[LlmrecError], str]] = [
    ({"lists": ["a title", "b", "c", "d"]}, DataError, "holds titles; rerank orders ranked lists"),
    ({"lists": LISTS[:2]}, DataError, "2 locales|4 locales|sessions"),
    ({"server": "http://localhost:1/v1"}, ConfigError, "needs the log-probability of given titles"),
    ({"server": "localhost", "method": "list"}, ConfigError, "URL of an OpenAI-compatible server"),
    ({"prompt": "rerank/yes"}, ConfigError, "takes a prompt that does not name candidates"),
    ({"prompt": "plain", "method": "list"}, ConfigError, "takes a prompt that names candidates"),
    ({"top": 1}, ConfigError, "top must be from 2 to 50|top must be at least 2"),
    ({"weight": 2.0}, ConfigError, "weight must be"),
    ({"methud": "yes"}, ConfigError, "did you mean 'method'"),
    ({"method": "pairwise"}, ConfigError, "method must be"),
    ({"max_source_tokens": 8, "method": "list"}, ConfigError, "or a smaller top"),
    ({"max_source_tokens": 8}, ConfigError, "leaves no room for a title"),
    ({"max_source_tokens": 600}, ConfigError, "has 512 positions"),
    ({"products": {"id": ["X0"], "title": ["tea"]}}, DataError, "no column 'locale'"),
]


@pytest.mark.parametrize(("changes", "error", "line"), BAD)
def test_what_cannot_be_done_is_one_line(
    changes: dict[str, Any], error: type[LlmrecError], line: str, model: str, tiny_store: llmrec.Store
) -> None:
    given = {"lists": LISTS, "sessions": SESSIONS, "products": tiny_store} | changes
    lists, sessions, products = (given.pop(name) for name in ("lists", "sessions", "products"))
    with pytest.raises(error, match=line) as raised:
        llmrec.rerank(lists, sessions, products, model, locale="UK", **given)
    assert "\n" not in str(raised.value)


def test_a_run_of_other_sessions_or_a_model_that_is_none_is_one_line(
    files: dict[str, Path], model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = {**files, "sessions": files["sessions"].with_name("sessions_development.parquet")}
    for some, name in ((other, model), (files, str(tmp_path)), (files, str(tmp_path / "none.gguf"))):
        assert typed(some, name, tmp_path / "out.parquet") == 2
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        assert line.startswith("error: ")
    assert not (tmp_path / "out.parquet").exists()
