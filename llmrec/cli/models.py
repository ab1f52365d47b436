"""``llmrec trim``: what is done with a model itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from llmrec.errors import ConfigError, require

__all__ = ["trim"]


def trim(
    model: Annotated[str, typer.Argument(help="Folder or hub name of a T5 or mT5 model.")],
    out: Annotated[Path, typer.Option(help="Folder to write.")],
    data: Annotated[Path | None, typer.Option(help="Store whose products the model is for.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Prompt it will read, may be given several times; its own, or plain.")
    ] = None,
    frequent: Annotated[int, typer.Option(help="Frequent pieces to keep whether used or not.", min=0)] = 2_000,
    restore: Annotated[
        str | None, typer.Option(help="Put a trimmed MODEL back into this one's vocabulary.", metavar="FULL")
    ] = None,
) -> None:
    """Cut a model's vocabulary to the tokens of a catalogue and its prompts; or put it back.

    Example: llmrec trim google/mt5-small --data STORE --out models/mt5-small-trimmed
    """
    require("torch", "generate")
    require("transformers", "generate")
    if (data is None) == (restore is None):
        raise ConfigError("give one of --data STORE, to trim, and --restore FULL, to put a trimmed model back")
    if restore is not None and prompt:
        raise ConfigError("--prompt says what a trimmed model keeps; --restore keeps everything")
    from llmrec.data.store import Store
    from llmrec.titles.models.trim_job import restore_folder, trim_folder

    if restore is not None:
        restore_folder(model, restore, out)
    if data is not None:
        trim_folder(model, Store.load(data), out, prompt or [], frequent)
