"""What `llmrec data events` is called with, from the command line or from Python."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Final, Literal

from llmrec.data.events.forms import DAY, SECOND, form_of
from llmrec.errors import ConfigError, shown
from llmrec.settings import option

__all__ = ["EventsJob", "gap_of", "moment_of", "pairs_of", "weights_of"]

REST: Final = "30m"  # paper, App. B.1
_UNITS: Final = {"s": SECOND, "m": 60 * SECOND, "h": 3_600 * SECOND, "d": DAY}


@dataclass(frozen=True, kw_only=True)
class EventsJob:
    """What to read and where to cut.

    Columns without a flag are found by their usual names, and named in a notice. --session none ignores such a
    column.

    Example: llmrec data events log.csv.gz stores/shop --products products.csv --test-days 7
    """

    HELP_PANELS: ClassVar[Mapping[str, str]] = {
        "Columns of the log": "user item time type session locale",
        "Sessions": "weights target gap max_events max_items drop_reloads",
        "Products": "products product_id product_title product_locale columns",
        "Spark": "engine master",
        "Split": "test_from test_days prefixes validation_days validation_share seed",
    }

    logs: Sequence[Path] = option(
        ...,
        "Event logs: CSV, TSV, JSON Lines (.gz too) or Parquet, one row per event.",
        argument=True,
        metavar="LOG...",
    )
    out: Path = option(
        ...,
        "Store to write. An older store there is replaced when this one is complete.",
        argument=True,
        output="folder",
        metavar="STORE",
    )
    user: str | None = option(None, "Column of users.")
    item: str | None = option(None, "Column of items.")
    time: str | None = option(None, "Column of times: ISO, dates, or seconds to nanoseconds since 1970.")
    type: str | None = option(None, "Column of event types.")
    session: str | None = option(None, "Column of sessions. They are then not cut by --gap.")
    locale: str | None = option(None, "Column of locales, or one locale for all, such as DE.")
    weights: str | None = option(
        None, "Event types that count, and their weight: view=1,cart=2,purchase=3. Default: all count alike."
    )
    target: str | None = option(
        None, "Event types whose last event is the target, such as purchase. Default: the session's last event."
    )
    gap: str | None = option(None, "Pause that ends a session: 90s, 30m, 2h. [default: 30m, or the session column]")
    max_events: int = option(
        100_000, "Leave out users with more events than this, as bots. 0 leaves out none.", minimum=0
    )
    max_items: int = option(500, "Keep only the last items of a longer session.", minimum=2, maximum=100_000)
    drop_reloads: bool = option(False, "Keep one of several events of the same item in a row.")
    products: Path | None = option(None, "Products, in any form that a log may have, with any column names.")
    product_id: str | None = option(None, "Their column of ids.", flag="--id")
    product_title: str | None = option(None, "Their column of titles.", flag="--title")
    product_locale: str | None = option(None, "Their column of locales. Default: as --locale.")
    columns: str | None = option(None, "Their other columns, as ours=theirs: price=amount,brand=vendor.")
    test_from: str | None = option(None, "Test on events from this time on: 2026-11-20, or an ISO time (UTC).")
    test_days: int | None = option(None, "Test on the last days of the log.", minimum=1, maximum=36_500)
    prefixes: Literal["last", "all"] = option(
        "last", "Targets of a test session: its last event, or every event but the first."
    )
    validation_days: int | None = option(
        None, "Validate on the last days before the test period, instead of a random share.", minimum=1, maximum=36_500
    )
    validation_share: float = option(0.1, "Share of the training sessions to keep for validation.", below=1)
    seed: int = option(0, "Random seed for drawing them.", minimum=0)
    engine: Literal["duckdb", "spark"] | None = option(
        None, "Where to compute: in this process, or on a Spark cluster, where files and store are URIs."
    )
    master: str | None = option(
        None, "Spark master: spark://HOST:7077, yarn … Default: what spark-submit says, or this machine."
    )


def gap_of(text: str | None, by_session: bool) -> int | None:
    """The rest that ends a session, in microseconds; None where a column says it alone.

    Raises:
        ConfigError: the text is no duration.
    """
    if text is None and by_session:
        return None
    found = re.fullmatch(r"(\d{1,6}) ?([smhd])", (text or REST).strip().lower())
    if found is None or not int(found[1]):
        raise ConfigError(f"--gap takes a number and s, m, h or d, for instance 30m; got {shown(text)}")
    return int(found[1]) * _UNITS[found[2]]


def pairs_of(text: str | None, flag: str, example: str) -> dict[str, str]:
    """``a=1,b=2`` as a mapping.

    Raises:
        ConfigError: a part is no pair, or a name is given twice.
    """
    pairs = [part.partition("=") for part in (text or "").split(",") if part.strip()]
    made = {name.strip(): value.strip() for name, _, value in pairs}
    if not all(name and value for name, value in made.items()) or len(made) < len(pairs):
        raise ConfigError(f"{flag} takes name=value pairs, each name once, for instance {example}; got {shown(text)}")
    return made


def weights_of(text: str | None) -> Mapping[str, float] | None:
    """Weights by event type; None where all weigh alike.

    Raises:
        ConfigError: a weight is no number from 0 on, or none is above it.
    """
    if text is None:
        return None
    example = "view=1,cart=2,purchase=3"
    try:
        weights = {name: float(weight) for name, weight in pairs_of(text, "--weights", example).items()}
        if not (weights and max(weights.values()) > 0 and all(0 <= one < 1e9 for one in weights.values())):
            raise ValueError
    except ValueError as error:
        raise ConfigError(
            f"--weights takes numbers from 0 on, not all 0, for instance {example}; got {shown(text)}"
        ) from error
    return weights


def moment_of(text: str) -> int:
    """A time given as ISO text, in microseconds since 1970; without a zone it is UTC.

    Raises:
        ConfigError: it is none.
    """
    from datetime import UTC, datetime

    try:
        if (form := form_of(text)) is None or form.unit:
            raise ValueError
        made = datetime.fromisoformat(text.replace(" UTC", "Z"))
    except ValueError as error:
        raise ConfigError(
            f"--test-from takes a day or an ISO time, for instance 2026-11-20; got {shown(text)}"
        ) from error
    moment = made if made.tzinfo else made.replace(tzinfo=UTC)
    return int(moment.timestamp()) * SECOND
