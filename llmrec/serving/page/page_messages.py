"""What the page asks beside the service's own routes, and what it is answered."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from llmrec.serving.messages import MOST_ITEMS, Id, Items, Locale, Recommend, Text

__all__ = [
    "Against",
    "Ask",
    "Beside",
    "Difference",
    "Draw",
    "Drawn",
    "Filled",
    "Find",
    "Look",
    "PageProduct",
    "Paired",
    "Prompted",
    "ReportShown",
    "RunShown",
    "RunsShown",
    "Setup",
    "Shown",
]


class _Asked(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What the page asks: unknown names are refused."""


class _Told(msgspec.Struct, kw_only=True):
    """What the page is told."""


class Setup(_Told):
    """What there is to show.

    Attributes:
        version: Of llmrec.
        locales: Language of each locale by name.
        ranker: Name of the ranker; empty without one.
        model: Name of the model that is served.
        others: Rankers to set beside it.
        titles: What writes titles: ``writer``, ``selector``, or empty.
        index: Whether similar products can be found.
        products: Whether products have titles.
        sessions: Sessions to draw from.
        prompts: Names of the prompts, the one that the title model was trained with first.
        runs: Whether a folder of runs is shown.
        places: Where the served things are, as they were named, for commands; empty where strangers may ask.
        growing: What is being made while the page is looked at.
    """

    version: str
    locales: dict[str, str]
    ranker: str = ""
    model: str = ""
    others: list[str] = []
    titles: str = ""
    index: bool = False
    products: bool = False
    sessions: int = 0
    prompts: list[str] = []
    runs: bool = False
    places: dict[str, str] = {}
    growing: str = ""


class Ask(_Asked):
    """Nothing but to be told."""


class Draw(_Asked):
    """A session that somebody had, or a hard case."""

    locale: Locale = None
    kind: Literal["random", "one", "repeats", "long", "cold", "unknown"] = "random"
    seed: Annotated[int, Meta(ge=0)] = 0


class Drawn(_Told):
    """A session; ``target`` is what came next, where that is known, and ``origin`` where the session is from."""

    items: list[str]
    locale: str
    origin: str
    target: str = ""


class Look(_Asked):
    """Products by id."""

    ids: Annotated[list[Id], Meta(max_length=MOST_ITEMS)]
    locale: Locale = None


class Find(_Asked):
    """Words that products have in their titles, or the beginning of an id."""

    text: Text
    locale: Locale = None
    k: Annotated[int, Meta(ge=1, le=50)] = 8


class PageProduct(_Told):
    """A product as it is shown; ``known``: whether the ranker has ever seen it."""

    id: str
    known: bool
    title: str | None = None
    brand: str | None = None
    price: float | None = None


class Shown(_Told):
    """Products."""

    products: list[PageProduct]


class Beside(Recommend):
    """A session that wants its next products of another ranker."""

    ranker: str = ""


class Prompted(_Asked):
    """A prompt to be filled in with a session, and to be answered where a model writes titles."""

    prompt: str
    items: Items = []
    titles: Annotated[list[Text], Meta(max_length=MOST_ITEMS)] = []
    locale: Locale = None
    k: Annotated[int, Meta(ge=1, le=20, description="K: number of most recent titles.")] = 3


class Filled(_Told):
    """A prompt with a session in it; the title that a model wrote to it, and what that took, where there is one."""

    prompt: str
    text: str
    title: str = ""
    last_title: str = ""
    by: str = ""
    read_tokens: int = 0
    written_tokens: int = 0
    seconds: float = 0


class RunShown(_Told):
    """A run and its scores."""

    name: str
    kind: str
    num_sessions: int
    metrics: dict[str, float]
    locales: dict[str, dict[str, float]]
    intervals: dict[str, tuple[float, float]] = {}
    partial: bool = False
    targets: str = ""
    made_by: str = ""


class Against(_Asked):
    """Two runs of the folder, by name."""

    first: Annotated[str, Meta(max_length=1024)]
    second: Annotated[str, Meta(max_length=1024)]


class Difference(_Told):
    """The first run minus the second on a part of the sessions, its 95 % interval, and the p of no difference."""

    part: str
    metric: str
    difference: float
    low: float
    high: float
    p: float


class Paired(_Told):
    """Differences of two runs, or why there are none."""

    differences: list[Difference]
    why_not: str = ""


class ReportShown(_Told):
    """A page that another command wrote, and where it is read."""

    name: str
    path: str


class RunsShown(_Told):
    """Runs of a folder that have been scored, and the reports in it; ``skipped`` files could not be read."""

    folder: str
    runs: list[RunShown]
    reports: list[ReportShown]
    skipped: list[str] = []
