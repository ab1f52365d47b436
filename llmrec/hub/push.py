"""Sharing: a folder, or what is saved into one, goes to the hub with a card written from what it records."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmrec.api.public import public
from llmrec.errors import ConfigError
from llmrec.evaluation.results import Result
from llmrec.hub.dataset_card import run_card, store_card
from llmrec.hub.facts import Facts, facts_of, is_hub_name, results_of
from llmrec.hub.forms import CARD, FORMS, RUN, Form, form_of, is_read
from llmrec.hub.model_card import model_card
from llmrec.hub.remote import Repo, licence_of, send
from llmrec.hub.staging import staged

__all__ = ["Shared", "push_to_hub"]

_HOUSEKEEPING: Final = (CARD, ".gitattributes", "LICENSE", "LICENSE.md", "LICENSE.txt")


@dataclass(frozen=True)
class Shared:
    """What was shared, or would be.

    Attributes:
        repo: Its repository, as `llmrec.from_pretrained` takes it.
        revision: The commit; None where nothing was sent.
        files: Names of its files, the card among them.
        left_out: Files of the folder that are not shared.
        card: Text of the card.
    """

    repo: str
    revision: str | None
    files: tuple[str, ...]
    left_out: tuple[str, ...]
    card: str


@public
def push_to_hub(
    thing: Any,
    repo: str,
    *,
    private: bool | None = None,
    licence: str | None = None,
    results: Sequence[Path | Result] = (),
    base_model: str | None = None,
    dry_run: bool = False,
) -> Shared:
    """Share something on the Hugging Face hub, with a card.

    Args:
        thing: A ranker, `TitleWriter`, selector, encoder, `SimilarProducts` or `Store`; or the folder of one, or the
            Parquet file of a run.
        repo: ``OWNER/NAME``. It is made where it is not there; one that holds something else is refused.
        private: Whether a new repository is private; what its owner's settings say if not given.
        licence: The hub's name of a licence, for instance ``apache-2.0``.
        results: Results (or their files) that the card shows; those beside the folder if not given.
        base_model: Hub name of the model that it was fine-tuned from.
        dry_run: Send nothing; the card and the names of the files are given all the same.

    Raises:
        ConfigError: there is nothing to share, a result is not of it, or a file of it must not be shared as it is.
        MissingExtraError: `huggingface_hub` is not installed.
        ModelError: the hub does not take it.

    Example:
        >>> import llmrec
        >>> ranker = llmrec.fit("covisit", [["tea", "cup"]])
        >>> llmrec.push_to_hub(ranker, "me/covisit", licence="apache-2.0", dry_run=True).files
        ('README.md', 'arrays.safetensors', 'ranker.json')
    """
    place = Repo.of(repo)
    with tempfile.TemporaryDirectory(prefix="llmrec-hub-") as scratch:
        folder = _folder_of(thing, Path(scratch))
        form = form_of(folder)
        place = Repo(place.name, form.shelf)
        out = Path(scratch) / "shared"
        out.mkdir()
        names, left_out = staged(folder, out, base_model)
        named_beside = thing if isinstance(thing, str | Path) else folder
        card = _card(form, folder, Path(named_beside), place, licence, base_model, results, ask=not dry_run)
        (out / CARD).write_text(card, encoding="utf-8", errors="backslashreplace")
        commit = None
        if not dry_run:
            message = f"Share {form.what}"
            commit = send(
                place, out, private=private, message=message, check=lambda there: _stale(place, form, there, names)
            )
    return Shared(str(place), commit, (CARD, *names), tuple(left_out), card)


def _folder_of(thing: Any, scratch: Path) -> Path:
    """Folder of what is to be shared; what is in memory is saved first."""
    place = Path(thing) if isinstance(thing, str | Path) else getattr(thing, "path", None)
    if isinstance(place, Path) and place.suffix == ".parquet" and place.is_file():
        (scratch / "run").mkdir()
        (scratch / "run" / RUN).symlink_to(place.resolve())
        return scratch / "run"
    if isinstance(place, Path):
        if not place.is_dir():
            raise ConfigError(f"{place}: no such folder; give the folder of what is to be shared")
        return place
    if not callable(getattr(thing, "save", None)):
        raise ConfigError(f"to be shared, {thing!r:.60} would need a folder, or save(folder)")
    thing.save(scratch / "saved")
    return scratch / "saved"


def _card(
    form: Form,
    folder: Path,
    named: Path,
    repo: Repo,
    licence: str | None,
    base_model: str | None,
    given: Sequence[Path | Result],
    *,
    ask: bool,
) -> str:
    if form.shelf == "dataset" and form.file != RUN:
        return store_card(form, folder, repo, licence)
    if form.file == RUN:
        results = results_of(form, named.with_suffix(""), Facts("run"), given)
        return run_card(form, folder / RUN, repo, licence, results)
    facts = facts_of(form, folder)
    results = results_of(form, named, facts, given)
    base = base_model or facts.base or _base_of(results)
    base_licence = licence_of(base) if base and ask else None
    return model_card(form, facts, repo, licence=licence, base_model=base, base_licence=base_licence, results=results)


def _base_of(results: Sequence[Result]) -> str | None:
    """Hub name of the model that a training of titles began with, told by its result."""
    for one in results:
        settings = one.provenance.get("settings")
        name = settings.get("base_model") if isinstance(settings, dict) else None
        if is_hub_name(name):
            return str(name)
    return None


def _stale(repo: Repo, form: Form, there: set[str], names: Sequence[str]) -> list[str]:
    """Files of a repository that the new ones replace and no longer have.

    Raises:
        ConfigError: it holds something else.
    """
    others = [name for name in sorted(there) if name not in _HOUSEKEEPING]
    if others and form.record not in there:
        kinds = [one.what for one in FORMS if one.record in there]
        held = kinds[0] if kinds else f"something else ({others[0]})"
        raise ConfigError(f"{repo}: holds {held}, and this is {form.what}; choose another repository")
    return [name for name in others if is_read(name) and name not in names]
