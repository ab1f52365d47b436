"""A shop one of whose words is odd everywhere: a locale, an id, a title, a brand; and everything that shows words."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.robustness.forks import Odd, command, controls
from tests.robustness.forms.plain import TEXTS
from tests.robustness.shop import Shop

__all__ = ["READERS", "change"]

WORDS: Final = {"locale": "FR", "id": "B010", "brand": "Brand3", "title": "Brand2 Lampe 2, 1 cm"}
STEERING: Final = (
    *(
        "[/]",
        "[/red]",
        "[bold]",
        "[link=http://x]y[/link]",
        "\x1b[31mred",
        "\u202eabc",
        "$\\frac{$",
        "$x^2$",
        "=1+1",
        "@SUM(1)",
    ),
    *("<script>x</script>", "a|b", "`x`", "[x](javascript:y)", "\ud800", "a\nb", "\x9b31m", ":smile:", "&lt;", "%s{0}"),
)
READ: Final = (".html", ".md", ".svg", ".csv", ".txt", ".yaml")


def change(folder: Path, draw: Random) -> str:
    """Put an odd text in the place of a word, wherever it is in the raw files."""
    kind = draw.choice(sorted(WORDS))
    odd = draw.choice(draw.choice((STEERING, STEERING, TEXTS))).encode("utf-8", "replace").decode()
    if draw.random() < 0.5:
        odd = f"{WORDS[kind]}{odd}"[:400]
    for path in folder.glob("*.csv"):
        with path.open(encoding="utf-8", newline="") as handle:
            rows = list(csv.reader(handle))
        place = rows[0].index("prev_items") if "prev_items" in rows[0] else -1
        for row in rows[1:]:
            for at, cell in enumerate(row):
                if cell == WORDS[kind]:
                    row[at] = odd
                elif at == place and kind == "id" and not re.search(r"['\\\r\n]", odd):
                    row[at] = cell.replace(f"'{WORDS[kind]}'", f"'{odd}'")
        with path.open("w", encoding="utf-8", newline="") as handle:
            csv.writer(handle, lineterminator="\n").writerows(rows)
    return f"{kind} {odd[:40]!r}"


def _stored(folder: Path, out: Path) -> Path:
    command("data", "import", folder, out / "store")
    return out / "store"


def _tame(out: Path) -> None:
    """What people open holds no character that steers, and no page takes a text for markup."""
    for path in sorted(out.rglob("*")):
        if path.suffix in READ and path.is_file():
            text = path.read_text(encoding="utf-8")
            if odd := controls(text):
                raise Odd(f"{odd!r} in {path.name}")
            if path.suffix in (".html", ".svg") and "<script>x" in text:
                raise Odd(f"markup in {path.name}")


def statistics(folder: Path, out: Path, shop: Shop) -> Any:
    """Tables and figures of the statistics."""
    command("stats", _stored(folder, out), "--out", out / "stats")
    _tame(out)


def measured(folder: Path, out: Path, shop: Shop) -> Any:
    """The page of a table of the paper."""
    from tests.robustness.readers import quick_yaml

    quick_yaml()
    command("reproduce", "table1", "--data", _stored(folder, out), "--out", out / "reproduced")
    _tame(out)


def searched(folder: Path, out: Path, shop: Shop) -> Any:
    """The table of similar products, and the plot of how locales agree."""
    store = _stored(folder, out)
    command("embed", "products", store / "products.parquet", "--out", out / "vectors", "--dim", 8)
    command("similar", out / "vectors", "Brand2 Lampe 2, 1 cm")
    command("evaluate-alignment", out / "vectors", "--queries", 10, "--plot", out / "plot.svg")
    _tame(out)


def scored(folder: Path, out: Path, shop: Shop) -> Any:
    """The tables of scores by locale."""
    store = _stored(folder, out)
    command("last-title", store, "--out", out / "run.parquet")
    targets = ("--targets", store / "sessions_validation.parquet", "--samples", 20, "--by", "locale")
    command("evaluate", out / "run.parquet", *targets, "--json", out / "result.json")
    command("results", out / "result.json", "--out", out / "table.md")
    _tame(out)


def ranked(folder: Path, out: Path, shop: Shop) -> Any:
    """Lists, and why products are in them."""
    store = _stored(folder, out)
    learn, ask = store / "sessions_development.parquet", store / "sessions_validation.parquet"
    command("rank", "covisit", "--train", learn, "--sessions", ask, "--products", store / "products.parquet",
            "--out", out / "run.parquet", "--allow-overlap")  # fmt: skip
    command(
        "evaluate",
        out / "run.parquet",
        "--targets",
        ask,
        "--samples",
        20,
        "--by",
        "locale",
        "novelty",
        "--train",
        learn,
    )
    _tame(out)


def prompted(folder: Path, out: Path, shop: Shop) -> Any:
    """Prompts of sessions."""
    import pyarrow.parquet as pq

    store = _stored(folder, out)
    ids = pq.read_table(store / "sessions_development.parquet", columns=["session_id"])["session_id"].to_pylist()
    for row in ids[:2]:
        command("prompts", "render", "instruct", "--data", store, "--session", row, "--split", "development")
    _tame(out)


READERS: Final[Mapping[str, Callable[[Path, Path, Shop], Any]]] = {
    "evaluate": scored,
    "prompts": prompted,
    "rank": ranked,
    "reproduce": measured,
    "similar": searched,
    "stats": statistics,
}
