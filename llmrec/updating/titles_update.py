"""A title model that goes on training."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llmrec.errors import ConfigError
from llmrec.files import held_in
from llmrec.output import atomic_folder, claimed, scratch_folder
from llmrec.rankers.recipes import yaml_value
from llmrec.settings import resolve
from llmrec.titles import generate_titles
from llmrec.titles.models.card import decide_card
from llmrec.titles.models.model import CARD
from llmrec.titles.settings import GenerateConfig

__all__ = ["update_titles"]


def update_titles(
    before: Path, place: Path, data: Path, settings: Mapping[str, Any], work: Path | None, resume: bool
) -> dict[str, Any]:
    """Train a title model for another epoch, on a store, with its own prompt, K and lengths.

    Args:
        before: Its folder.
        place: Where the updated model belongs.
        data: Store.
        settings: Other settings of the training, those of `llmrec generate`.
        work: Where checkpoints and logs are kept; they go with the command if not given.
        resume: Whether to go on from the newest checkpoint there.

    Returns:
        Its prompt and K.

    Raises:
        ConfigError: ``place`` holds something else, or a setting is wrong.
        LlmrecError: as `generate_titles`.
    """
    if place.exists() and not (place / CARD).is_file() and any(place.iterdir()):
        raise ConfigError(f"{place}: exists and holds no title model{held_in(place)}; choose another folder")
    card, _ = decide_card(str(before), None, False, {})
    own = {name: getattr(card, name) for name in ("k", "prompt", "max_source_tokens", "max_target_tokens", "chat")}
    goes_on = {"epochs": 1.0, "log_to": "none", "limit": 1, "data": data, "base_model": str(before), "resume": resume}
    given = {name: yaml_value(value) for name, value in settings.items()}
    with claimed((place, "folder")), _work_folder(work, place) as folder:  # locked first, so that nobody sweeps it
        generate_titles(resolve(GenerateConfig, {**own, **goes_on, **given, "output_dir": folder}))
        with atomic_folder(place) as temporary:
            shutil.copytree(folder / "model", temporary, dirs_exist_ok=True)
    return {"how": "trained on", "prompt": card.prompt, "k": card.k}


@contextmanager
def _work_folder(work: Path | None, place: Path) -> Iterator[Path]:
    if work is not None:
        yield work
        return
    with scratch_folder(place) as folder:
        yield folder / "training"
