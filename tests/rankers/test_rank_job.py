"""`llmrec rank` and `llmrec tune` as a user runs them, on files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from llmrec.cli import main
from llmrec.errors import ConfigError
from llmrec.evaluation.runs import read_run
from llmrec.rankers import RANKERS, load_ranker
from llmrec.rankers.rank import ranker_settings
from llmrec.rankers.registry import ranker_class
from llmrec.rankers.tune import SPACES, load_space
from llmrec.testing.ranker_contract import SESSIONS, products, training_sessions
from llmrec.training.search import names_in


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Train, bare, sessions and products files; the working directory is theirs."""
    training = training_sessions(count=200)
    half = len(training) // 2
    rows = [
        {"prev_items": items[:-1], "next_item": items[-1], "locale": locale}
        for items, locale in zip(training.sequences.to_pylist()[:half], training.locales.to_pylist(), strict=False)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    bare = pa.table({"prev_items": training.sequences.slice(half), "locale": training.locales.slice(half)})
    pq.write_table(bare, tmp_path / "bare.parquet")
    pq.write_table(pa.table({"prev_items": SESSIONS.prev_items, "locale": SESSIONS.locales}), tmp_path / "new.parquet")
    pq.write_table(products(), tmp_path / "products.parquet")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def llmrec(command: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(command.split())
    return int(stopped.value.code or 0)


def test_rank_writes_a_run_in_the_files_order_with_its_provenance(folder: Path) -> None:
    command = "rank covisit --train train.parquet bare.parquet --sessions new.parquet --out run.parquet --k 5"
    assert llmrec(command + " --transductive --products products.parquet") == 0
    run = read_run(Path("run.parquet"))
    assert run.kind == "ranking"
    assert run.locales.to_pylist() == SESSIONS.locales.to_pylist()
    assert all(0 < len(listed) <= 5 for listed in run.predictions.to_pylist())
    for key, value in {
        "ranker": "covisit",
        "transductive": True,
        "seen": "drop",
        "recipe": "covisit",
        "train": ["train.parquet", "bare.parquet"],
    }.items():
        assert run.provenance[key] == value


def test_a_kept_ranker_ranks_sessions_that_came_later(folder: Path) -> None:
    assert llmrec("rank covisit --train train.parquet --save model --seed 0") == 0
    assert llmrec("rank covisit --load model --seed 0 --sessions new.parquet --out a.parquet") == 0
    assert llmrec("rank covisit --train train.parquet --sessions new.parquet --out b.parquet") == 0
    assert read_run(Path("a.parquet")).predictions.equals(read_run(Path("b.parquet")).predictions)


def test_rankers_by_locale_learn_from_their_locale_alone(folder: Path) -> None:
    assert llmrec("rank global_popularity --train train.parquet --per-locale --save model") == 0
    assert llmrec("rank global_popularity --load model --sessions new.parquet --out run.parquet") == 0
    training = pq.read_table("train.parquet").to_pylist()
    lists = read_run(Path("run.parquet")).predictions.to_pylist()
    for listed, locale in zip(lists, SESSIONS.locales.to_pylist(), strict=True):
        known = {locale} & {"DE", "FR"} or {"DE", "FR"}
        learnt = {item for row in training if row["locale"] in known for item in [*row["prev_items"], row["next_item"]]}
        assert listed
        assert set(listed) <= learnt


TINY_GRU = """
kind: ranker
ranker: gru4rec
settings: {embedding_size: 8, hidden_size: 8, max_epochs: 1, batch_size: 64}
finetune: {learning_rate: 0.01}
"""


def test_pretraining_goes_on_with_the_recipes_settings_for_it(folder: Path) -> None:
    Path("tiny.yaml").write_text(TINY_GRU, encoding="utf-8")
    rows = "['B01' 'NEW'],B02,IT\n" * 3
    Path("small.csv").write_text(f"prev_items,next_item,locale\n{rows}", encoding="utf-8")
    command = "rank gru4rec --recipe tiny.yaml --pretrain train.parquet bare.parquet --train small.csv --save model"
    assert llmrec(f"{command} --sessions new.parquet --out run.parquet") == 0
    record = json.loads(Path("model/ranker.json").read_text(encoding="utf-8"))
    assert record["settings"]["learning_rate"] == 0.01
    assert record["locales"] == ["DE", "FR", "IT"]
    assert read_run(Path("run.parquet")).provenance["pretrain"] == ["train.parquet", "bare.parquet"]
    # a kept ranker goes on too: all it knew can still be ranked, and what is new as well
    assert llmrec("rank gru4rec --recipe tiny.yaml --train train.parquet --save first") == 0
    assert llmrec("rank gru4rec --recipe tiny.yaml --load first --train small.csv --save second") == 0
    ids = load_ranker(Path("second")).catalogue.vocabulary.ids.to_pylist()
    assert {"B02", "NEW"} < set(ids)
    assert set(load_ranker(Path("first")).catalogue.vocabulary.ids.to_pylist()) < set(ids)


def test_a_limited_run_is_stamped_partial(folder: Path) -> None:
    assert llmrec("rank covisit --train train.parquet --sessions new.parquet --out run.parquet --limit 3") == 0
    run = read_run(Path("run.parquet"))
    assert (len(run), run.partial) == (3, True)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("rank covisits --train train.parquet --save m", "no ranker 'covisits'; did you mean 'covisit'?"),
        ("rank covisit --sessions new.parquet --out r.parquet", "nothing to learn from: give --train FILE"),
        ("rank covisit --train train.parquet", "nothing to do: give --sessions FILE --out RUN"),
        ("rank covisit --train train.parquet --out r.parquet", "--sessions and --out go together"),
        ("rank covisit --train train.parquet --sessions new.parquet --out r.parquet --k 0", "k must be at least 1"),
        ("rank covisit --train train.parquet --sessions new.parquet --out r.parquet --k 101", "at most 100 ids"),
        ("rank covisit --train train.parquet --save m --seen forget", "--seen must be one of drop, keep"),
        ("rank covisit --train train.parquet --save m --transductive", "give --sessions FILE"),
        ("rank covisit --train train.parquet --save m --recipe demo", "for llmrec generate; llmrec rank takes"),
        ("rank covisit --train train.parquet --save m --set histry=3", "unknown key 'histry'; did you mean 'history'?"),
        ("rank covisit --train train.parquet --save m --set history", "--set takes name=value"),
        ("rank covisit --train nowhere.parquet --save m", "nowhere.parquet"),
        ("rank covisit --train train.parquet --pretrain bare.parquet --save m", "cannot be pretrained"),
        ("rank covisit --load nowhere --sessions new.parquet --out r.parquet", "nowhere: no ranker here"),
        ("rank covisit --train train.parquet --save m --resume", "--resume needs --checkpoints"),
        ("rank gru4recf --train train.parquet --save m", "--products"),
        ("tune covisit --train bare.parquet --out r.yaml", "0 labelled sessions in bare.parquet"),
        ("tune covisit --train train.parquet --out r.yaml --space nothing", "no search space 'nothing'"),
    ],
)
def test_wrong_requests_are_one_line_and_leave_nothing(
    folder: Path, capfd: pytest.CaptureFixture[str], command: str, message: str
) -> None:
    before = sorted(folder.iterdir())
    assert llmrec(command) == 2
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 1, error
    assert error[0].startswith("error: ")
    assert message in error[0]
    assert sorted(folder.iterdir()) == before


def test_a_model_of_another_ranker_says_which(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert llmrec("rank global_popularity --train train.parquet --save model") == 0
    capfd.readouterr()
    assert llmrec("rank covisit --load model --sessions new.parquet --out r.parquet") == 2
    assert (
        "holds the ranker 'global_popularity', not 'covisit'; llmrec rank global_popularity" in capfd.readouterr().err
    )


def test_an_empty_training_file_is_one_line(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("empty.csv").write_text("prev_items,next_item,locale\n", encoding="utf-8")
    assert llmrec("rank covisit --train empty.csv --sessions new.parquet --out r.parquet") == 2
    assert "empty.csv: no session to learn from" in capfd.readouterr().err


def test_tune_writes_the_best_setting_as_a_recipe_and_goes_on(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("search:\n  history: [1, 2]\n", encoding="utf-8")
    command = "tune covisit --train train.parquet --bare bare.parquet --space space.yaml --out best.yaml --trials"
    assert llmrec(f"{command} 1") == 0
    assert llmrec(f"{command} 9") == 0
    trials = capfd.readouterr().err
    assert [trials.count(f"trial {number}:") for number in range(3)] == [1, 1, 0]  # two lengths, each tried once
    recipe = yaml.safe_load(Path("best.yaml").read_text(encoding="utf-8"))
    assert recipe["settings"]["history"] in (1, 2)
    assert recipe["scores"]["trials"] == 2
    assert 0 < recipe["scores"]["validation mrr@100"] <= 1
    assert llmrec("rank covisit --recipe best.yaml --train train.parquet --save model") == 0
    assert json.loads(Path("model/ranker.json").read_text())["settings"] == recipe["settings"]


def test_a_search_with_other_settings_is_not_mixed_in(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("space.yaml").write_text("search:\n  history: [1, 2]\n", encoding="utf-8")
    command = "tune covisit --train train.parquet --space space.yaml --out best.yaml --trials 1"
    assert llmrec(command) == 0
    assert llmrec(f"{command} --seed 1") == 2
    assert "holds a search with another protocol" in capfd.readouterr().err


def test_a_training_is_logged_where_asked(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(TINY_GRU, encoding="utf-8")
    command = "rank gru4rec --recipe tiny.yaml --train train.parquet --save model"
    for flags, message in (
        ("--log-to wanb", "unknown tracker 'wanb'; did you mean 'wandb'?"),
        ("--log-to tensorboard", "writes into the folder of a training; give --checkpoints DIR"),
    ):
        assert llmrec(f"{command} {flags}") == 2
        assert message in capfd.readouterr().err
    assert llmrec("rank covisit --train train.parquet --save model --log-to none") == 2
    assert "covisit has no training to log; leave it out" in capfd.readouterr().err
    assert not Path("model").exists()
    assert llmrec(command) == 0
    assert not list(folder.rglob("events.out.*"))
    assert llmrec(f"{command} --checkpoints states") == 0
    assert len(list(Path("states/logs").glob("events.out.*"))) == 1
    assert llmrec(f"{command} --checkpoints other --log-to none") == 0
    assert not Path("other/logs").exists()


def test_a_search_logs_its_trials_and_its_recipe_does_not(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Path("tiny.yaml").write_text(TINY_GRU, encoding="utf-8")
    Path("space.yaml").write_text("search:\n  batch_size: [64]\n", encoding="utf-8")
    command = "tune gru4rec --recipe tiny.yaml --train train.parquet --space space.yaml --out best.yaml --trials 1"
    assert llmrec(f"{command} --log-to tensorboard") == 2
    assert "writes into the folder of a training" in capfd.readouterr().err
    assert llmrec(f"{command} --log-to none") == 0
    assert yaml.safe_load(Path("best.yaml").read_text(encoding="utf-8"))["settings"]["log_to"] is None


@pytest.mark.parametrize("name", names_in(SPACES))
def test_every_search_space_names_settings_of_its_ranker(name: str) -> None:
    assert load_space(name, name).num_points > 1


@pytest.mark.parametrize("name", sorted(RANKERS))
def test_every_ranker_has_a_recipe_and_a_name(name: str) -> None:
    assert ranker_class(name).name == name
    assert isinstance(ranker_settings(name), ranker_class(name).settings_class)


def test_under_accelerate_one_process_writes(folder: Path) -> None:
    environment = {**os.environ, "RANK": "1"}
    code = "from llmrec.cli import main; main()"
    command = ["rank", "covisit", "--train", "train.parquet", "--sessions", "new.parquet", "--out", "run.parquet"]
    done = subprocess.run([sys.executable, "-c", code, *command], env=environment, cwd=folder, check=False)
    assert done.returncode == 0
    assert not Path("run.parquet").exists()


@pytest.mark.parametrize(
    "ends", ["{low: abc, high: 1}", "{low: '1', high: '2'}", "{low: 3, high: 1}", "{low: 0, high: 1, log: yes please}"]
)
def test_a_range_of_a_search_space_is_two_numbers_in_order(ends: str, tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(f"search:\n  neighbours: {ends}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"'neighbours' (must be a list of values, or low and high|goes from 3 to 1)"):
        load_space(str(file), "covisit")
