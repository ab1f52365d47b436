"""``llmrec prompts``: what a model is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.errors import require

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Prompts: list, render, build a dataset of them.")


@app.command("list")
def list_prompts() -> None:
    """Show the prompts that come with the package.

    Example: llmrec prompts list
    """
    from llmrec.prompts import prompt_table

    out_console.print(prompt_table())


@app.command()
def render(
    name: Annotated[str, typer.Argument(help="Prompt by name or file.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    session: Annotated[int, typer.Option(help="Row of the session in its source file, from 0.")],
    split: Annotated[str, typer.Option(help="Split of the session.")] = "validation",
    k: Annotated[int, typer.Option(help="Number of most recent titles.", min=1)] = 3,
) -> None:
    """Print the prompt of one session.

    Example: llmrec prompts render instruct --data STORE --split test --session 12
    """
    from llmrec.data.store import Store
    from llmrec.generation.recent_products import render_session
    from llmrec.prompts import load_prompt

    text = render_session(load_prompt(name), Store.load(data), split, session, k)
    out_console.print(text, markup=False)


@app.command()
def export(
    name: Annotated[str, typer.Argument(help="Prompt by name or file.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    out: Annotated[Path, typer.Option(help="Folder for the dataset.")],
    split: Annotated[list[str], typer.Option(help="Split; may be given several times.")],
    k: Annotated[int, typer.Option(help="Number of most recent titles.", min=1)] = 3,
) -> None:
    """Save prompt sessions as a dataset with a card, for `datasets.load_dataset`.

    Example: llmrec prompts export plain --data STORE --split development --split validation --out prompts-k3
    """
    require("datasets", "generate")
    from tempfile import TemporaryDirectory

    from llmrec.data.store import Store
    from llmrec.generation.prompt_export import export_prompt_sessions
    from llmrec.generation.prompt_sessions import build_prompt_sessions
    from llmrec.prompts import load_prompt

    store, prompt = Store.load(data), load_prompt(name)
    with TemporaryDirectory(prefix="llmrec-") as cache:
        splits = {}
        for one in split:
            splits[one] = build_prompt_sessions(store, one, k=k, prompt=prompt, cache=Path(cache))
        export_prompt_sessions(splits, out, prompt=prompt, k=k, fingerprint=store.fingerprint)
    notice(f"next: python -c \"import datasets; print(datasets.load_dataset('{out}'))\"")
