"""What a launcher sets, or somebody in its place, is used or one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
from llmrec.errors import ConfigError
from llmrec.training.devices import new_accelerator
try:
    new_accelerator()
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("name", "value"),
    [("ACCELERATE_USE_CPU", "maybe"), ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "x"), ("LOCAL_RANK", "7")],
)
def test_a_setting_that_no_launcher_makes_is_one_line(name: str, value: str) -> None:
    environment = {**os.environ, name: value}
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.startswith("the environment has a launcher's setting that cannot be used (")
    assert done.stdout.count("\n") == 1
