"""``llmrec prompts``: what a model is told."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.console import notice
from llmrec.console import out as out_console
from llmrec.errors import require

__all__ = ["app"]

app = typer.Typer(name="prompts", no_args_is_help=True, help="Prompts: list, render, compare, build a dataset of them.")


@app.command("list")
def list_prompts() -> None:
    """Show the prompts that come with the package.

    Example: llmrec prompts list
    """
    from llmrec.text.prompts import prompt_table

    out_console.print(prompt_table())


@app.command()
def render(
    name: Annotated[str, typer.Argument(help="Prompt by name or file.")],
    data: Annotated[Path, typer.Option(help="Store.")],
    session: Annotated[int, typer.Option(help="Row of the session in its source file, from 0.")],
    split: Annotated[str, typer.Option(help="Split of the session.")] = "validation",
    k: Annotated[int, typer.Option(help="Number of most recent titles.", min=1)] = 3,
    shots: Annotated[int, typer.Option(help="Examples in a chat, drawn from training sessions.", min=0)] = 0,
    seed: Annotated[int, typer.Option(help="Of the examples.", min=0)] = 0,
) -> None:
    """Print the prompt of one session; a chat's messages below their roles.

    Example: llmrec prompts render instruct --data STORE --split test --session 12
    """
    from llmrec.data.store import Store
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.lab.messages import render_chat
    from llmrec.titles.prompting.recent_products import render_session

    prompt, store = load_prompt(name), Store.load(data)
    if prompt.system or shots:
        text = render_chat(prompt, store, split, session, k=k, shots=shots, seed=seed)
    else:
        text = render_session(prompt, store, split, session, k)
    out_console.print(text, markup=False)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(help="Prompts by name or file.", metavar="NAME...")],
    data: Annotated[Path, typer.Option(help="Store.")],
    model: Annotated[
        list[str],
        typer.Option(help="Folder of a sequence-to-sequence model, or a name that the server knows; several times."),
    ],
    out: Annotated[Path, typer.Option(help="Folder for report.html, comparison.json and the answers.")],
    k: Annotated[list[int], typer.Option(help="Number of most recent titles; several times.")] = [3],  # noqa: B006
    shots: Annotated[list[int], typer.Option(help="Examples in a chat; several times.")] = [0],  # noqa: B006
    locale: Annotated[list[str], typer.Option(help="Draw from this locale alone; several times.")] = [],  # noqa: B006
    sessions: Annotated[int, typer.Option(help="Sessions drawn, the same for every row.", min=1)] = 200,
    split: Annotated[str, typer.Option(help="validation, development or train.")] = "validation",
    seed: Annotated[int, typer.Option(help="Of sessions, examples and sampling.", min=0)] = 0,
    server: Annotated[
        str | None, typer.Option(help="OpenAI-compatible server, such as http://localhost:8000/v1.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Most requests under way at once.", min=1)] = 8,
    retries: Annotated[int, typer.Option(help="Most repetitions of a request that fails for the moment.", min=0)] = 6,
    timeout: Annotated[float, typer.Option(help="Longest wait for an answer, in seconds.", min=0.1)] = 120,
    temperature: Annotated[float, typer.Option(help="Of a chat model's sampling; 0 is greedy.", min=0)] = 0,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of a chat model's answer.", min=2)] = 96,
    examples: Annotated[int, typer.Option(help="Sessions shown side by side on the page.", min=0)] = 6,
    cache: Annotated[
        Path | None, typer.Option(help="File of answers already given; answers.sqlite in --out if not given.")
    ] = None,
) -> None:
    """Run prompts × K × examples × models over the same sessions: BLEU with intervals, cost, titles side by side.

    The key of a server comes from LLMREC_API_KEY or OPENAI_API_KEY in the environment, and is never written anywhere.

    Example: llmrec prompts compare plain instruct --data STORE --model runs/mt5/model --k 1 --k 3 --out runs/compared
    """
    from llmrec.titles.lab.compare import compare_prompts
    from llmrec.titles.lab.settings import CompareSettings

    compare_prompts(
        CompareSettings(
            prompts=names,
            data=data,
            models=model,
            out=out,
            k=k,
            shots=shots,
            locales=locale,
            num_sessions=sessions,
            split=split,
            seed=seed,
            server=server,
            concurrency=concurrency,
            retries=retries,
            timeout_s=timeout,
            temperature=temperature,
            max_tokens=max_tokens,
            num_examples=examples,
            cache=cache,
        )
    )


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
    from llmrec.text.prompts import load_prompt
    from llmrec.titles.prompting.prompt_export import export_prompt_sessions
    from llmrec.titles.prompting.prompt_sessions import build_prompt_sessions

    store, prompt = Store.load(data), load_prompt(name)
    with TemporaryDirectory(prefix="llmrec-") as cache:
        splits = {}
        for one in split:
            splits[one] = build_prompt_sessions(store, one, k=k, prompt=prompt, cache=Path(cache))
        export_prompt_sessions(splits, out, prompt=prompt, k=k, fingerprint=store.fingerprint)
    notice(f"next: python -c \"import datasets; print(datasets.load_dataset('{out}'))\"")
