"""What a folder or a repository may hold, what it is known by, and which of its files are ever read."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from llmrec.errors import ModelError, shown

__all__ = ["CARD", "ENDINGS", "FORMS", "RUN", "SOURCE", "Form", "form_of", "forms_named", "is_read", "refuse_names"]

CARD: Final = "README.md"
SOURCE: Final = "hub.json"  # in a pulled folder: where it comes from
RUN: Final = "run.parquet"
Shelf = Literal["model", "dataset"]


@dataclass(frozen=True)
class Form:
    """A kind of thing that is shared.

    Attributes:
        what: What it is called, with its article.
        record: File that it is known by.
        says: Text that this file holds; tells kinds with a record of the same name apart.
        load: What opens a folder of it, as ``module:function`` below ``llmrec``, loaded when it is asked for.
        shelf: The hub's type of repository.
        summary: What it is and does, in a sentence.
        intended: What it is good for.
        limits: What it must not be taken for.
        file: File that ``load`` is given; the folder where empty.
        pipeline: The hub's name of the task, where it has one.
        tags: The hub's tags.
    """

    what: str
    record: str
    says: str
    load: str
    summary: str
    intended: str
    limits: tuple[str, ...]
    shelf: Shelf = "model"
    file: str = ""
    pipeline: str | None = None
    tags: tuple[str, ...] = ()

    def is_at(self, folder: Path) -> bool:
        """Whether a folder holds one, readable or not."""
        file = folder / self.record
        if not file.is_file():
            return False
        return not self.says or self.says in file.read_text(encoding="utf-8", errors="replace")

    def open(self, folder: Path) -> Any:
        """Load what a folder holds, checked; errors are those of its own ``load``."""
        module, _, names = self.load.partition(":")
        found: Any = importlib.import_module(f"llmrec.{module}")
        for name in names.split("."):
            found = getattr(found, name)
        return found(folder / self.file if self.file else folder)


_OF_ITS_TIME: Final = "It knows the products and habits of the sessions that it was fitted on, and no later ones."
_NO_PEOPLE: Final = "It sees sessions without people: nothing in it is meant for decisions about persons."
_POPULAR: Final = "What sold well is offered more often; niche and new products are offered less than they deserve."
_RANKING: Final = {
    "load": "rankers.fitting:load_ranker",
    "summary": "Orders the products that a shopping session is likely to look at next, best first.",
    "intended": "Recommending the next product within the locales that it was fitted on, and research on that.",
    "limits": (_OF_ITS_TIME, _POPULAR, _NO_PEOPLE),
    "tags": ("recommendation", "session-based", "next-item"),
}
FORMS: Final = (
    Form(what="a ranker", record="ranker.json", says='"llmrec ranker"', **_RANKING),  # type: ignore[arg-type]
    Form(
        what="a ranker for each locale",
        record="per_locale.json",
        says='"llmrec rankers by locale"',
        **_RANKING,  # type: ignore[arg-type]
    ),
    Form(
        what="a title selector",
        record="selector.json",
        says='"llmrec selector"',
        load="selection.selector:Selector.load",
        summary="Chooses the title of the next product among titles that exist: a session's own and likely products'.",
        intended="Predicting the next product's title (Task 3 of the Amazon-M2 paper), and research on that.",
        limits=(_OF_ITS_TIME, "It needs the catalogue's titles beside it, and writes no title of its own.", _NO_PEOPLE),
        tags=("recommendation", "session-based", "title-selection"),
    ),
    Form(
        what="an encoder",
        record="encoder.json",
        says='"llmrec encoder"',
        load="text.encoders.registry:load_saved_encoder",
        summary="Turns product titles into vectors whose product is their similarity.",
        intended="Searching a catalogue for similar products, and vectors of items for rankers.",
        limits=("Titles alone decide: products that read alike need not be alike.", _OF_ITS_TIME),
        pipeline="sentence-similarity",
        tags=("product-search", "embeddings"),
    ),
    Form(
        what="an index of similar products",
        record="manifest.json",
        says='"llmrec embeddings"',
        load="text.search.similar:SimilarProducts.load",
        summary="Vectors of a catalogue's titles with their encoder and index, ready to be searched.",
        intended="Finding products like a title, a product or a session, within and across locales.",
        limits=("It holds the catalogue's ids and titles: whoever loads it can read them.", _OF_ITS_TIME),
        pipeline="sentence-similarity",
        tags=("product-search", "embeddings"),
    ),
    Form(
        what="a title model",
        record="llmrec.json",
        says='"max_target_tokens"',
        load="titles.title_writer:TitleWriter.load",
        summary="Writes the title of the product that a shopping session is likely to look at next.",
        intended="Predicting the next product's title (Task 3 of the Amazon-M2 paper), and research on that.",
        limits=(
            "It may write titles of products that do not exist; `llmrec ground` finds the nearest that do.",
            "It may repeat what the titles that it learnt from hold: brand names, claims, errors.",
            _OF_ITS_TIME,
            _NO_PEOPLE,
        ),
        pipeline="text-generation",
        tags=("recommendation", "session-based", "title-generation"),
    ),
    Form(
        what="a store of sessions",
        record="manifest.json",
        says='"fingerprint"',
        load="data.store:open_store",
        summary="Shopping sessions and the products of their locales, checked and split.",
        intended="Fitting and judging rankers and models of the next product and its title.",
        limits=("Sessions name no person; who joins them with other data may find some.", "A catalogue of one time."),
        shelf="dataset",
        tags=("recommendation", "session-based", "e-commerce"),
    ),
    Form(
        what="a run",
        record=RUN,
        says="",
        load="evaluation.runs:read_run",
        file=RUN,
        summary="Predictions for every session of a split, in the form of the KDD Cup 2023.",
        intended="Scoring, comparing and blending without fitting anything again.",
        limits=("It belongs to one file of sessions, in that file's order.",),
        shelf="dataset",
        tags=("recommendation", "session-based"),
    ),
)
_NAME: Final = re.compile(r"(?:[A-Za-z0-9_][\w.-]{0,99}/){0,5}[A-Za-z0-9_][\w.-]{0,199}", re.ASCII)
ENDINGS: Final = ("json", "safetensors", "npy", "parquet", "txt", "model", "jinja", "hnsw", "ivf")  # of what is read
_SESSIONS: Final = ("learnt_from.json", "learnt_from.safetensors")  # what a ranker was fitted on stays with its owner
_READ: Final = re.compile(rf"[^.].*\.(?:{'|'.join(ENDINGS)})")
_RUNS_CODE: Final = re.compile(
    r"(?i).*\.(?:pkl|pickle|joblib|dill|pt|pth|ckpt|bin|h5|npz|py|pyc|ipynb|sh|so|dll|exe|jar)"
)


def form_of(folder: Path, called: str = "") -> Form:
    """What a folder holds; ``called`` is what an error calls it.

    Raises:
        ModelError: nothing that this package shares.
    """
    found = next((form for form in FORMS if form.is_at(folder)), None)
    if found is None:
        wanted = ", ".join(dict.fromkeys(form.record for form in FORMS))
        raise ModelError(
            f"{called or folder}: holds nothing that is shared (none of {wanted}); give the folder that was saved"
        )
    return found


def forms_named(names: Iterable[str]) -> list[Form]:
    """What a repository may hold, told by the names of its files."""
    known = set(names)
    return [form for form in FORMS if form.record in known]


def is_read(name: str) -> bool:
    """Whether a file of a folder or repository is one of those that are ever shared or fetched."""
    own = name.rpartition("/")[2]
    return _READ.fullmatch(own) is not None and name not in (CARD, SOURCE) and own not in _SESSIONS


def refuse_names(names: Iterable[str], where: str) -> None:
    """Refuse a repository that holds what could run as code, or a name that leads out of its folder.

    Raises:
        ModelError: it does; the first such name is told.
    """
    for name in names:
        odd = not _NAME.fullmatch(name) and (is_read(name) or not name.isprintable())
        if odd or name.startswith("/") or "\\" in name or ".." in name.split("/"):
            raise ModelError(f"{where}: a file named {shown(name)} is no file of ours; nothing was fetched")
        if _RUNS_CODE.fullmatch(name):
            raise ModelError(f"{where}: holds {shown(name)}, which could run code when it is read; nothing was fetched")
