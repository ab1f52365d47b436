"""A search as `tune` and `sweep` use it: every point once, also after a kill, and never another search's trials."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from llmrec.errors import ConfigError, DiskError
from llmrec.training import search as search_module
from llmrec.training.search import Search, Space

GRID = Space({"rate": [0.1, 0.2], "layers": [1, 2]})
PRODUCT = [(0.1, 1), (0.1, 2), (0.2, 1), (0.2, 2)]  # the grid in its order


def opened(folder: Path, space: Space = GRID, **made_with: Any) -> Search:
    return Search.open(folder, "some", space, {"data": "d"} | made_with, seed=3)


def test_a_grids_failed_point_is_tried_again(tmp_path: Path) -> None:
    seen: list[tuple[Any, ...]] = []

    def objective(trial: Any) -> float:
        chosen = GRID.suggest(trial)
        seen.append((chosen["rate"], chosen["layers"]))
        if len(seen) == 2:
            raise KeyboardInterrupt
        return float(chosen["layers"])

    with pytest.raises(KeyboardInterrupt):
        opened(tmp_path).run(objective, 9)
    search = opened(tmp_path)
    assert search.num_done == 1, "what was stopped has no score"
    search.run(objective, 9)
    assert sorted(seen) == sorted([*PRODUCT, seen[1]])
    assert (search.num_done, search.best_first()[0].params["layers"]) == (4, 2)
    opened(tmp_path).run(objective, 9)
    assert len(seen) == 5, "nothing is left to try"


@pytest.mark.parametrize("fails_at", range(3, 9))
def test_a_disk_that_fails_at_an_event_is_one_line_and_the_search_goes_on(
    fails_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna takes an event that it could not write for an error of its own."""
    calls: list[Any] = []

    def flock(descriptor: Any, _: int) -> None:
        calls.append(descriptor)
        if len(calls) == fails_at:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(search_module.fcntl, "flock", flock)
        with pytest.raises(DiskError, match="the disk is full"):
            opened(tmp_path).run(lambda trial: GRID.suggest(trial)["layers"], 9)
    again = opened(tmp_path)
    again.run(lambda trial: GRID.suggest(trial)["layers"], 9)
    assert again.num_done == 4


def test_trials_end_at_their_number(tmp_path: Path) -> None:
    space = Space({}, {"x": (0.0, 1.0, False)})
    scores = []
    for trials in (2, 3):
        opened(tmp_path, space).run(lambda trial: scores.append(space.suggest(trial)["x"]) or 0.0, trials)
    assert len(set(scores)) == 3


def test_a_grid_goes_in_order_and_on_behind_a_stop(tmp_path: Path) -> None:
    seen: list[int] = []

    def objective(number: int) -> float:
        seen.append(number)
        if seen.count(2) == 1 and number == 2:
            raise ConfigError("stopped")
        return -float(number)

    with pytest.raises(ConfigError, match="stopped"):
        opened(tmp_path).run_grid(objective)
    opened(tmp_path).run_grid(objective)
    assert seen == [0, 1, 2, 2, 3]
    search = opened(tmp_path)
    search.run_grid(objective, again=[1])
    assert seen[5:] == [1]
    best = search.best_first()[0].params
    assert (best["rate"], best["layers"]) == PRODUCT[0]


def test_another_searchs_folder_is_refused(tmp_path: Path) -> None:
    opened(tmp_path)
    with pytest.raises(ConfigError, match="holds a search with another data; give another --storage, or remove it"):
        opened(tmp_path, data="e")


@pytest.mark.parametrize("text", ["no JSON\n{}\n", "[]\n", '{"op_code": 99}\n'])
def test_damaged_trials_are_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "trials.jsonl").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"trials\.jsonl.*; give another --storage, or remove it"):
        opened(tmp_path)


def test_a_point_left_waiting_by_a_kill_is_scored_as_itself(tmp_path: Path) -> None:
    search = opened(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search.study, "optimize", lambda *_, **__: stopped())
        with pytest.raises(KeyboardInterrupt):
            search.run_grid(lambda _: 0.0)
    search = opened(tmp_path)
    search.run_grid(float)
    assert {(one.params["rate"], one.params["layers"]): one.value for one in search.best_first()} == {
        point: float(number) for number, point in enumerate(PRODUCT)
    }


def stopped() -> None:
    raise KeyboardInterrupt


def test_a_line_of_trials_that_was_changed_doubled_or_left_out_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "whole").run(lambda trial: float(GRID.suggest(trial)["layers"]), 3)
    lines = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines(keepends=True)
    changed = [line.replace('"values": [2.0]', '"values": [3.0]') for line in lines]
    for number, damaged in enumerate((changed, lines[:5] + lines[4:], lines[:4] + lines[5:])):
        assert damaged != lines
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "trials.jsonl").write_text("".join(damaged))
        with pytest.raises(ConfigError, match=r"trials\.jsonl, line \d+: damaged .*give another --storage"):
            opened(folder)


def test_a_search_goes_on_behind_an_event_that_a_kill_cut_short(tmp_path: Path) -> None:
    opened(tmp_path).run(lambda trial: float(GRID.suggest(trial)["layers"]), 2)
    file = tmp_path / "trials.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    opened(tmp_path).run(lambda trial: float(GRID.suggest(trial)["layers"]), 9)
    assert len({tuple(one.params.values()) for one in opened(tmp_path).best_first()}) == 4


def test_trials_that_optuna_wrote_itself_are_gone_on_with(tmp_path: Path) -> None:
    """As version 0.1 and what came after it kept them: no checksum, no number."""
    opened(tmp_path).run(lambda trial: float(GRID.suggest(trial)["layers"]), 2)
    file = tmp_path / "trials.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    bare = [{key: value for key, value in event.items() if key not in ("checksum", "line")} for event in events]
    file.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in bare))
    search = opened(tmp_path)
    assert search.num_done == 2
    search.run(lambda trial: float(GRID.suggest(trial)["layers"]), 9)
    assert opened(tmp_path).num_done == 4


def test_trials_of_settings_that_are_not_searched_are_refused(tmp_path: Path) -> None:
    opened(tmp_path).run(lambda trial: float(GRID.suggest(trial)["layers"]), 2)
    with pytest.raises(ConfigError, match="holds trials of another space"):
        opened(tmp_path, Space({"rate": [0.5], "layers": [1, 2]}))


@pytest.mark.parametrize("scores", [[], [1.0, 2.0], ["high"], [float("nan")]])
def test_a_trial_that_ended_without_its_one_score_is_refused(tmp_path: Path, scores: list[Any]) -> None:
    opened(tmp_path).run(lambda trial: float(GRID.suggest(trial)["layers"]), 2)
    file = tmp_path / "trials.jsonl"
    events = [json.loads(line) for line in file.read_text().splitlines()]
    bare = [{key: value for key, value in event.items() if key not in ("checksum", "line")} for event in events]
    changed = [event | {"values": scores} if event.get("values") else event for event in bare]
    assert changed != bare
    file.write_text("".join(json.dumps(event, separators=(",", ":")) + "\n" for event in changed))
    with pytest.raises(ConfigError, match=r"trials\.jsonl"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("choices", "ranges", "reason"),
    [
        ({}, {"rate": (2.0, 1.0, False)}, "'rate' goes from 2.0 to 1.0"),
        ({}, {"rate": (0.0, 1.0, True)}, "'rate' goes from 0.0 to 1.0"),
        ({str(number): range(10) for number in range(6)}, {}, "1,000,000 settings"),
    ],
)
def test_a_space_that_cannot_be_searched_is_one_line(choices: Any, ranges: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        Space(choices, ranges)
