"""A comparison as a user runs it: the same sessions for every row, answers that are never lost or bought twice."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from llmrec.data.store import Store
from llmrec.errors import ConfigError, DataError, DiskError, LlmrecError, ModelError, StoreError
from llmrec.evaluation.bleu import bleu_stats, corpus_bleu
from llmrec.evaluation.differences import difference_of
from llmrec.text.prompts import load_prompt, one_line
from llmrec.titles.lab.compare import compare_prompts
from llmrec.titles.lab.messages import render_chat
from llmrec.titles.lab.sample import draw_examples, draw_sample
from llmrec.titles.lab.scores import CellScore
from llmrec.titles.lab.settings import CompareSettings, check_server
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
from llmrec.titles.models.tokenizer import build_tokenizer
from tests.conftest import TITLES
from tests.titles.lab.chat_faults import ChatFaults, echo_header, last_title, serving, status
from tests.titles.lab.tiny_chat import build_tiny_chat, transformers_serve
from tests.titles.tiny_gguf import write_gguf
from tests.titles.tiny_llm import write_tiny_llm

# ibis 12 still calls what DuckDB 2 renamed
pytestmark = pytest.mark.filterwarnings("ignore:fetch_arrow_table:DeprecationWarning")
FIELDS = ("title",)
FOLLOWS = ((3, 4), (1, 0), (0, 1))  # last and next product of the sessions that have both titles


@pytest.fixture
def settings(tiny_store: Store, tmp_path: Path) -> CompareSettings:
    return CompareSettings(
        prompts=["chat"], data=tiny_store.path, models=["m"], out=tmp_path / "out", num_sessions=14, timeout_s=10
    )


@pytest.fixture(scope="module")
def tiny_mt5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "mt5"
    tokenizer = build_tokenizer([f"{title} {n}" for titles in TITLES.values() for title in titles for n in (1, 2)], 400)
    prompt = load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 1, 24, 8)
    save_model(folder, build_tiny_mt5(len(tokenizer), 32, 1, 0), tokenizer, card)
    return folder


def run_compare(settings: CompareSettings, url: str, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from llmrec.cli import main; main()", "prompts", "compare", *settings.prompts]
    command += ["--data", str(settings.data), "--model", "m", "--out", str(settings.out), f"--server={url}"]
    command += ["--sessions", str(settings.num_sessions), *more]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def metric(score: CellScore) -> float:
    return score.result.overall.metrics["bleu"]


def test_a_sample_is_drawn_evenly_by_seed_and_can_be_scored(tiny_store: Store) -> None:
    sample = draw_sample(tiny_store, "validation", 14, k=2, fields=FIELDS, seed=0)
    locales = [session.locale for session in sample]
    assert {locale: locales.count(locale) for locale in locales} == dict.fromkeys(
        ["UK", "DE", "JP", "ES", "FR", "IT", "US"], 2
    )
    assert all(session.target.strip() and 1 <= len(session.products) <= 2 for session in sample)
    assert sample == draw_sample(tiny_store, "validation", 14, k=2, fields=FIELDS, seed=0)
    assert sample != draw_sample(tiny_store, "validation", 14, k=2, fields=FIELDS, seed=1)
    assert len(draw_sample(tiny_store, "validation", 99, k=2, fields=FIELDS, seed=0)) == 21  # 3 of 5 a locale
    only = draw_sample(tiny_store, "validation", 2, k=2, fields=FIELDS, seed=0, locales=["JP"])
    assert [session.locale for session in only] == ["JP", "JP"]


def test_examples_are_training_sessions_of_the_locale_and_none_of_the_sample(tiny_store: Store) -> None:
    sample = draw_sample(tiny_store, "development", 14, k=2, fields=FIELDS, seed=0)
    examples = draw_examples(tiny_store, sample, 2, k=2, fields=FIELDS, seed=0)
    development = set(pq.read_table(tiny_store.path / "sessions_development.parquet")["session_id"].to_pylist())
    asked = {session.session_id for session in sample}
    for locale, found in examples.items():
        assert [one.locale for one in found] == [locale]  # of its 3, the sample holds 2
        assert {one.session_id for one in found} <= development - asked
    with pytest.raises(StoreError, match="is no training split"):
        draw_sample(tiny_store, "test_task3_phase1", 14, k=2, fields=FIELDS, seed=0)


def test_scores_are_those_of_the_titles_and_the_first_row_is_the_baseline_of_the_others(
    settings: CompareSettings,
) -> None:
    following = {one_line(titles[last]): titles[target] for titles in TITLES.values() for last, target in FOLLOWS}

    def knows(messages: list[dict[str, str]]) -> str:
        title = following[last_title(messages)]
        more = " and one more" if "\n2. " in messages[-1]["content"] else ""
        return f'Title: "{title}{more} with much else"' if len(messages) > 1 else title + more

    with serving(ChatFaults(answer=knows)) as server:
        scores = compare_prompts(replace(settings, prompts=["instruct", "chat"], k=[1, 2], server=server.url))
        assert len(server.requests) == 4 * 14 - len(repeated(server))
    assert [(score.cell.prompt_label, score.cell.k) for score in scores] == [
        ("instruct_v1", 1),
        ("instruct_v1", 2),
        ("chat_v1", 1),
        ("chat_v1", 2),
    ]
    rows = pq.read_table(settings.out / "answers.parquet").to_pylist()
    assert len(rows) == 4 * 14
    record = json.loads((settings.out / "comparison.json").read_text(encoding="utf-8"))
    assert metric(scores[0]) == 100 > metric(scores[1]) > metric(scores[3]) > 0
    first = None
    for score, cell in zip(scores, record["cells"], strict=True):
        mine = [row for row in rows if (row["prompt"], row["k"]) == (cell["prompt"], cell["k"])]
        titles, targets = [row["title"] for row in mine], [row["target_title"] for row in mine]
        last = [row["last_title"] for row in mine]
        assert cell["scores"]["overall"]["metrics"]["bleu"] == metric(score)
        assert metric(score) == pytest.approx(corpus_bleu(titles, targets).score)
        ours, theirs = bleu_stats(titles, targets), bleu_stats(last, targets)
        expected = difference_of(ours, theirs)
        assert cell["scores"]["comparison"]["intervals"]["overall"]["low"] == pytest.approx(expected.low)
        if first is not None:
            low = cell["against_first"]["intervals"]["overall"]["low"]
            assert low == pytest.approx(difference_of(ours, first).low)
        first = ours if first is None else first
        assert (cell["cost"]["prompt_tokens"], cell["cost"]["completion_tokens"]) == (140, 42)
    assert record["cells"][0]["against_first"] is None


def repeated(server: ChatFaults) -> list[str]:
    """Requests that two sessions or two rows share, which are paid for once."""
    told = [json.dumps(request) for request in server.requests]
    assert len(set(told)) == len(told)  # none was sent twice
    return ["" for _ in range(4 * 14 - len(told))]


def test_a_second_run_costs_nothing_and_says_the_same(settings: CompareSettings) -> None:
    with serving(ChatFaults(delay_s=0.02)) as server:
        asked = replace(settings, server=server.url, k=[1, 3], concurrency=3)
        first = compare_prompts(asked)
        paid = len(server.requests)
        assert server.most_at_once == 3
        again = compare_prompts(asked)
        assert len(server.requests) == paid
        assert [score.cost for score in again] == [score.cost for score in first]
        assert [score.titles for score in again] == [score.titles for score in first]
        compare_prompts(replace(asked, temperature=0.5))  # another setting is another answer
        assert len(server.requests) == 2 * paid


def test_few_shot_examples_are_turns_before_the_question(settings: CompareSettings) -> None:
    with serving(ChatFaults()) as server:
        compare_prompts(replace(settings, server=server.url, shots=[0, 2], k=[2], locales=["DE"], num_sessions=3))
        roles = [[message["role"] for message in request["messages"]] for request in server.requests]  # type: ignore[index]
        shown = server.requests[-1]["messages"]
    assert roles.count(["system", "user"]) == 3
    assert roles.count(["system", "user", "assistant", "user", "assistant", "user"]) == 3
    assert shown[0]["content"].startswith("Du sagst voraus")  # type: ignore[index]
    assert shown[2]["content"] in TITLES["DE"]  # type: ignore[index]


def test_empty_answers_count_as_empty_titles_and_are_told(settings: CompareSettings) -> None:
    with serving(ChatFaults(answer=lambda _: "<think>hm", usage=False)) as server:
        (score,) = compare_prompts(replace(settings, server=server.url))
    assert set(score.titles) == {""}
    assert score.cost.num_empty == 14
    assert score.cost.prompt_tokens is None
    assert metric(score) == 0


def test_what_came_before_a_failure_is_kept(settings: CompareSettings) -> None:
    fine = [lambda handler: handler.reply(200, '{"choices": [{"message": {"content": "Mouse"}}]}')] * 5
    with serving(ChatFaults([*fine, *[status(401, "key expired")] * 40])) as server:
        asked = replace(settings, server=server.url, concurrency=1)
        with pytest.raises(ModelError, match=r"m, chat_v1, K = 3, 0 shots: http.*status 401: key expired; set LLMREC"):
            compare_prompts(asked)
        assert not (settings.out / "report.html").exists()
        server.faults.clear()
        before = len(server.requests)
        (score,) = compare_prompts(asked)
        assert len(server.requests) - before <= len(score.titles) - 5
        assert list(score.titles).count("Mouse") >= 5


def test_a_killed_comparison_goes_on_where_it_was(settings: CompareSettings) -> None:
    with serving(ChatFaults(delay_s=0.15)) as server:
        process = run_compare(settings, server.url, "--concurrency", "2", "--sessions", "20")
        while len(server.requests) < 7 and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        time.sleep(0.4)  # what was under way ends
        assert 7 <= len(server.requests) < 20
        assert not (settings.out / "comparison.json").exists()
        server.delay_s = 0
        compare_prompts(replace(settings, server=server.url, num_sessions=20))
        different = {json.dumps(request) for request in server.requests}
        assert len(server.requests) - len(different) <= 2  # at most what was under way at the kill


def test_two_processes_share_a_cache(settings: CompareSettings) -> None:
    shared = settings.out / "shared.sqlite"
    number = itertools.count()  # a server that samples: never the same answer twice
    with serving(ChatFaults(delay_s=0.05, answer=lambda _: f"Mouse {next(number)}")) as server:
        process = run_compare(replace(settings, out=settings.out / "a"), server.url, "--cache", str(shared))
        while not server.requests and process.poll() is None:
            time.sleep(0.02)
        compare_prompts(replace(settings, server=server.url, cache=shared, out=settings.out / "b", concurrency=1))
        _, told = process.communicate()
        assert process.returncode == 0, told
        different = {json.dumps(request) for request in server.requests}
    tables = [pq.read_table(settings.out / name / "answers.parquet") for name in ("a", "b")]
    assert tables[0].equals(tables[1])
    with closing(sqlite3.connect(shared)) as connection:
        assert connection.execute("SELECT count(*) FROM answers").fetchone() == (len(different),)


def test_no_secret_is_in_any_output(
    settings: CompareSettings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LLMREC_API_KEY", "sk-very-secret")
    key = "3f8a9c7b2d1e4f60a1b2c3d4"
    secrets = ("sk-very-secret", "pass-word", "dXNlcjpwYXNzLXdvcmQ=", key)
    with serving(ChatFaults([echo_header], answer=lambda _: "key sk-very-secret")) as server:
        compare_prompts(replace(settings, server=server.url, out=settings.out / "key"))
        server.faults.append(echo_header)
        password = server.url.replace("//", "//user:pass-word@").replace("/v1", f"/{key}/v1")
        process = run_compare(replace(settings, out=settings.out / "password"), password)
        told = [*process.communicate(), *capfd.readouterr()]
        assert process.returncode == 0, told
        assert server.authorizations == {"Bearer sk-very-secret", "Basic dXNlcjpwYXNzLXdvcmQ="}
    assert sum("bad header" in text for text in told) == 2
    assert not any(secret in text for secret in secrets for text in told)
    files = [file for file in settings.out.rglob("*") if file.is_file()]
    assert {file.name for file in files} == {"answers.sqlite", "answers.parquet", "comparison.json", "report.html"}
    for file in files:
        assert not any(secret.encode() in file.read_bytes() for secret in secrets), file
        assert not file.name.startswith("answers") or file.stat().st_mode & 0o077 == 0, file
    record = json.loads((settings.out / "password" / "comparison.json").read_text(encoding="utf-8"))
    assert record["provenance"]["settings"]["server"] == server.shown.replace("/v1", "/***/v1")
    assert f"--server={server.shown.replace('/v1', '/***/v1')}" in record["provenance"]["command"]


def test_the_page_is_escaped_and_shows_every_row(settings: CompareSettings) -> None:
    with serving(ChatFaults(answer=lambda _: "<script>alert(1)</script> & Mouse")) as server:
        compare_prompts(replace(settings, server=server.url, k=[1, 2], prompts=["chat", "instruct"], num_examples=3))
    page = (settings.out / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt; &amp; Mouse") == 3 * 4
    assert "default-src 'none'" in page
    assert page.count(">came next</th>") == 3
    for label in ("chat_v1, K=1", "chat_v1, K=2", "instruct_v1, K=1", "instruct_v1, K=2"):
        assert page.count(f">{label}</th>") == 3 + 3  # three tables, three sessions
    assert "[system]\nYou predict which product" in page


def test_a_folder_of_our_own_runs_here_and_long_prompts_are_cut(settings: CompareSettings, tiny_mt5: Path) -> None:
    asked = replace(settings, models=[str(tiny_mt5)], prompts=["plain"], k=[1, 4], shots=[0, 2])
    scores = compare_prompts(asked)
    assert [score.cell.shots for score in scores] == [None, None]  # it continues no text, so no examples
    assert scores[1].cost.num_cut > scores[0].cost.num_cut
    assert max(answer.prompt_tokens or 0 for score in scores for answer in score.answers) <= 24
    stamps = {file.name: file.stat().st_mtime_ns for file in settings.out.iterdir()}
    assert compare_prompts(asked)[0].cost == scores[0].cost
    assert (settings.out / "answers.sqlite").stat().st_mtime_ns == stamps["answers.sqlite"]
    record = (settings.out / "comparison.json").read_text(encoding="utf-8")
    assert str(tiny_mt5.parent.parent) not in record  # a machine's folders are its owner's
    with pytest.raises(ConfigError, match="instruct_v1, K = 1: the model reads 24 tokens, which this prompt fills"):
        compare_prompts(replace(asked, prompts=["instruct"]))


@pytest.mark.slow
def test_transformers_serve_answers_zero_and_few_shot(settings: CompareSettings, tmp_path: Path) -> None:
    model = build_tiny_chat(tmp_path / "tiny-chat", [title for titles in TITLES.values() for title in titles])
    with transformers_serve(model, tmp_path / "serve.log") as url:
        asked = replace(settings, server=url, models=[str(model)], prompts=["chat", "instruct"], shots=[0, 1])
        scores = compare_prompts(replace(asked, max_tokens=8, num_sessions=7, timeout_s=60))
        wrong = replace(asked, models=["another"], retries=0, out=tmp_path / "wrong")
        with pytest.raises(ModelError, match="status 400: Server is pinned to"):
            compare_prompts(wrong)
    assert len(scores) == 4
    assert all(1 <= (answer.completion_tokens or 0) <= 8 for score in scores for answer in score.answers)
    assert (scores[1].cost.prompt_tokens or 0) > (scores[0].cost.prompt_tokens or 0)  # the example is read
    assert not any("viewed" in answer.text for score in scores for answer in score.answers)  # the prompt is no answer


def test_a_gguf_file_is_asked_in_its_own_chat(
    settings: CompareSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_tiny_llm(tmp_path / "llm", [title for titles in TITLES.values() for title in titles], kind="llama")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    file = write_gguf(tmp_path / "tiny.gguf", model, tokenizer)
    scores = compare_prompts(replace(settings, prompts=["instruct"], models=[str(file), str(folder)], num_sessions=4))
    gguf, plain = ([answer.text for answer in score.answers] for score in scores)
    assert gguf == plain
    assert any(plain)
    asked = replace(settings, prompts=["instruct"], models=[str(file)], num_sessions=4)
    cached = compare_prompts(asked)
    assert [answer.text for answer in cached[0].answers] == gguf
    halved = compare_prompts(replace(asked, decode_precision="bf16", cache=settings.out / "answers.sqlite"))
    assert [answer.seconds for answer in halved[0].answers] != [answer.seconds for answer in cached[0].answers]


def test_a_model_here_reads_examples_before_the_prompt(settings: CompareSettings, tmp_path: Path) -> None:
    prompt = load_prompt("instruct_v1")
    texts = [prompt.render([{"title": title}], "DE") for titles in TITLES.values() for title in titles]
    model = write_tiny_llm(tmp_path / "llm", texts, kind="llama")
    asked = replace(settings, prompts=["instruct"], models=[str(model)], k=[1], num_sessions=3, locales=["DE"])
    none, two = compare_prompts(replace(asked, shots=[0, 2]))
    assert (none.cell.shots, two.cell.shots) == (0, 2)
    assert two.cell.label.endswith("K = 1, 2 shots")
    assert (two.cost.prompt_tokens or 0) > 2 * (none.cost.prompt_tokens or 0)
    assert (none.cost.num_cut, two.cost.num_cut) == (0, 0)  # what is told before takes nothing from the prompt
    assert "[assistant]" in (settings.out / "report.html").read_text(encoding="utf-8")
    one, *_ = compare_prompts(replace(asked, shots=[1]))
    assert (none.cost.prompt_tokens or 0) < (one.cost.prompt_tokens or 0) < (two.cost.prompt_tokens or 0)
    with pytest.raises(ConfigError, match="the model has 512; take fewer --shots"):
        compare_prompts(replace(asked, shots=[99], split="train", locales=[]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"prompts": ["chatt"]}, ConfigError, "no prompt 'chatt'; did you mean 'chat'"),
        ({"models": ["gpt"], "server": None}, ConfigError, "--model gpt: no folder with a model"),
        ({"k": [0]}, ConfigError, "--k must be at least 1; got 0"),
        ({"shots": [-1]}, ConfigError, "--shots must be at least 0; got -1"),
        (
            {"locales": ["DEE"]},
            ConfigError,
            "--locale DEE: validation has no session with titles there; did you mean 'DE'",
        ),
        ({"split": "test"}, StoreError, "'test' is no training split"),
        ({"server": "localhost:8000"}, ConfigError, "--server must be the URL"),
        ({"server": "http://h/v1?key=secret"}, ConfigError, "--server takes no ?query"),
    ],
)
def test_wrong_settings_are_one_line_before_anything_is_asked(
    settings: CompareSettings, changes: dict[str, object], error: type[LlmrecError], message: str
) -> None:
    with pytest.raises(error) as caught:
        compare_prompts(replace(settings, **({"server": "http://127.0.0.1:9/v1"} | changes)))  # type: ignore[arg-type]
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not settings.out.exists()


def test_two_rows_of_one_name_are_refused(settings: CompareSettings, tmp_path: Path) -> None:
    names = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        names.append(str(tmp_path / folder / "mine.yaml"))
        Path(names[-1]).write_text(load_prompt("plain").path.read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(ConfigError, match="two rows would be called 'm, mine, K = 3, 0 shots'; rename one"):
        compare_prompts(replace(settings, prompts=names, server="http://127.0.0.1:9/v1"))


def test_a_chat_is_rendered_below_its_roles(tiny_store: Store) -> None:
    text = render_chat(load_prompt("chat"), tiny_store, "validation", 1, k=2, shots=1, seed=0)
    roles = re.findall(r"^\[(\w+)\]$", text, re.MULTILINE)
    assert roles == ["system", "user", "assistant", "user"]
    assert text.endswith("1. Garden Hose 15 m\n2. Kettle 1.7 L\nTitle of the product viewed next:")
    with pytest.raises(DataError, match="has no session 999"):
        render_chat(load_prompt("chat"), tiny_store, "validation", 999, k=2, shots=1, seed=0)


def test_a_server_without_a_path_gets_the_usual_one() -> None:
    assert check_server("http://localhost:8000") == check_server("http://localhost:8000/") == "http://localhost:8000/v1"
    assert check_server("https://user:a@b@host/api/v3/") == "https://user:a@b@host/api/v3"


def test_a_cache_that_is_none_is_one_line(settings: CompareSettings, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.sqlite"
    foreign.write_text("no database, but long enough to be read as one" * 40, encoding="utf-8")
    asked = replace(settings, server="http://127.0.0.1:9/v1", cache=foreign)
    with pytest.raises(DataError, match=r"foreign.sqlite: holds no answers of this program; delete it or name another"):
        compare_prompts(asked)
    with pytest.raises(DiskError, match="is a folder; name a file"):
        compare_prompts(replace(asked, cache=tmp_path))


def test_a_prompt_of_ones_own_with_a_system_message(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    content = {
        "summary": "s",
        "variables": {"products": "p", "product.title": "t", "locale": "l"},
        "system": "Shop {{ locale }}",
        "template": "{{ products | map(attribute='title') | join('; ') }}",
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    prompt = load_prompt(str(file))
    assert prompt.messages([{"title": "A"}], "UK", [([{"title": "B"}], "C\nD")]) == [
        {"role": "system", "content": "Shop UK"},
        {"role": "user", "content": "B"},
        {"role": "assistant", "content": "C D"},
        {"role": "user", "content": "A"},
    ]
    assert prompt.render([{"title": "A"}], "UK") == "Shop UK\nA"
    file.write_text(yaml.safe_dump(content | {"system": "{{ shop }}"}), encoding="utf-8")
    with pytest.raises(ConfigError, match="undefined variable 'shop'"):
        load_prompt(str(file))
