"""``llmrec data``: raw files to a checked store, synthetic data, sessions held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.cli.download import get
from llmrec.console import notice
from llmrec.console import out as out_console

__all__ = ["app"]

app = typer.Typer(name="data", no_args_is_help=True, help="Raw files to a checked store; synthetic data.")
app.command()(get)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder with the raw files, or the authors' repository.")],
    out: Annotated[Path, typer.Argument(help="The store to write; an older store there is replaced at the end.")],
    seed: Annotated[int, typer.Option(help="Draws the validation sessions.")] = 0,
    validation_share: Annotated[float, typer.Option(help="Share of training sessions kept for validation.")] = 0.1,
) -> None:
    """Read the official CSVs, the authors' repository or plain Parquet into a checked store.

    Example: llmrec data import ~/amazon-m2 stores/m2
    """
    from llmrec.data.importing import import_dataset
    from llmrec.data.summary import render_summary

    out_console.print(render_summary(import_dataset(source, out, seed=seed, validation_share=validation_share)))
    notice(f"next: accelerate launch scripts/gen.py --data {out} --k 3")


@app.command()
def synth(
    out: Annotated[Path, typer.Argument(help="Folder for the official CSV layout.")],
    size: Annotated[str, typer.Option(help="tiny, small (1/50) or full (3.6 M sessions).")] = "tiny",
    seed: Annotated[int, typer.Option(help="The same seed and size give the same bytes.")] = 0,
    report: Annotated[bool, typer.Option("--report", help="Set its figures beside the paper's.")] = False,
) -> None:
    """Write synthetic Amazon-M2 sessions and products, in six languages.

    Example: llmrec data synth raw/small --size small --report
    """
    from llmrec.synth import measure_synthetic, render_report, synthesize, write_report

    synthesize(out, size=size, seed=seed)
    if report:
        figures = measure_synthetic(out)
        write_report(figures, out)
        out_console.print(render_report(figures))
    notice(f"next: llmrec data import {out} STORE")


@app.command()
def holdout(
    file: Annotated[Path, typer.Argument(help="Sessions, labelled or bare: Parquet or CSV.")],
    out: Annotated[Path, typer.Argument(help="Folder for train, sessions and targets (.parquet).")],
    share: Annotated[float, typer.Option(help="Share of each locale's sessions.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Draws them.")] = 0,
    locale: Annotated[list[str] | None, typer.Option(help="Only this locale; may be repeated.")] = None,
    grouped: Annotated[
        bool, typer.Option("--grouped", help="Keep sessions that go on from one another on one side.")
    ] = False,
    cold: Annotated[float, typer.Option(help="Share of the targets that no session to learn from holds.")] = 0.0,
) -> None:
    """Hold out a share of a sessions file: what to learn from, what to rank for, and the targets.

    A session without next_item gives its last item, if two others stay.

    Example: llmrec data holdout sessions.parquet runs/holdout --share 0.1
    """
    from llmrec.data.holdout import hold_out

    made = hold_out(file, out, share=share, seed=seed, locales=locale, grouped=grouped, cold=cold)
    notice(f"{made.num_train:,} sessions to learn from, {made.num_held_out:,} held out, in {out}")
    notice(f"next: llmrec rank covisit --train {made.train} --sessions {made.sessions} --out RUN")


@app.command()
def pick(
    file: Annotated[Path, typer.Argument(help="Sessions, labelled or bare: Parquet or CSV.")],
    out: Annotated[Path, typer.Argument(help="The file to write (Parquet).")],
    locale: Annotated[list[str], typer.Option(help="A locale to keep; may be repeated.")],
) -> None:
    """Write the sessions of some locales: Task 1 is of UK, DE and JP, Task 2 of ES, FR and IT.

    Example: llmrec data pick stores/m2/sessions_development.parquet runs/small.parquet --locale ES --locale IT
    """
    from llmrec.data.pick import pick_locales

    notice(f"{pick_locales(file, out, locale):,} sessions in {out}")
