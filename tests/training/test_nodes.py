"""Processes of one launch: what one finds wrong, or its death, ends all of them with one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.training.two_nodes import free_port

PROGRAM = """
import os, signal, sys, time
from accelerate import PartialState
from llmrec.errors import DataError
from llmrec.processes import is_first_process
from llmrec.training.nodes import join, require_same, together
join()
with together():
    require_same("equal", "what both read")
    if is_first_process():
        PartialState().wait_for_everyone()
    if "killed" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    raise DataError("sessions.csv, row 3: no locale")
"""


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("killed", " is gone: it was killed, or its machine or network failed; a training goes on from its last "),
        ("raises", ": sessions.csv, row 3: no locale\n"),
    ],
)
def test_the_end_of_one_process_ends_those_that_wait_for_it(how: str, line: str) -> None:
    port, running = free_port(), []
    for rank in range(2):
        told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
        env = os.environ | {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        env |= {name: str(value) for name, value in told.items()}
        running.append(
            subprocess.Popen([sys.executable, "-c", PROGRAM, how], env=env, stderr=subprocess.PIPE, text=True)
        )
    waiting, other = (one.communicate(timeout=100)[1] for one in running)
    assert running[0].returncode == 2, (waiting, other)
    assert waiting.startswith("error: process 1 of 2 (")
    assert line in waiting
    assert waiting.count("\n") == 1
