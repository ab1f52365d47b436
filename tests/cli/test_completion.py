"""What a shell is offered while a command is typed: verbs, flags, choices and names, without a traceback."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = [sys.executable, "-c", "import sys; sys.argv[0] = 'llmrec'; from llmrec.cli import main; main()"]


def offered(typed: str, shell: str = "bash") -> list[str]:
    words = typed.split(" ")
    asked = {"COMP_WORDS": typed, "COMP_CWORD": str(len(words) - 1)}  # bash's own
    asked |= {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # of the scripts for the others
    environment = {**os.environ, **asked, "_LLMREC_COMPLETE": f"complete_{shell}"}
    done = subprocess.run(RUN, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


@pytest.mark.parametrize(
    ("typed", "among"),
    [
        ("llmrec ", {"rank", "generate", "hub", "doctor"}),
        ("llmrec hub pu", {"push", "pull"}),
        ("llmrec rank covis", {"covisit", "covisit_walk"}),
        ("llmrec rank covisit --re", {"--recipe", "--resume"}),
        ("llmrec rank covisit --recipe covisit_", {"covisit_near", "covisit_last"}),
        ("llmrec rank covisit --seen ", {"drop", "keep"}),
        ("llmrec prompts render plain", {"plain_v1"}),
        ("llmrec similar runs/titles kettle --locale ", {"UK", "DE", "JP"}),
    ],
)
def test_a_shell_is_offered_what_fits(typed: str, among: set[str]) -> None:
    found = offered(typed)
    assert among <= {*found}
    assert all(one.startswith(typed.rpartition(" ")[2]) for one in found)


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_offered_the_same(shell: str) -> None:
    found = " ".join(offered("llmrec rank covis", shell))
    assert "covisit_walk" in found
    assert "popularity" not in found


@pytest.mark.parametrize(("shell", "line"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete --")])
def test_the_script_for_a_shell_is_printed(shell: str, line: str) -> None:
    environment = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [*RUN, "--show-completion", shell], env=environment, capture_output=True, text=True, check=True
    )
    assert line in done.stdout
    assert "_LLMREC_COMPLETE" in done.stdout
