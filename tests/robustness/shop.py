"""A tiny genuine one of everything that commands write: made once, by the commands themselves, each in a fork."""

from __future__ import annotations

import csv
import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.robustness.forks import command, forked

__all__ = ["Shop"]

LOCALES: Final = ("DE", "FR", "JP")
WORDS: Final = {
    "DE": ("Kabel", "Maus", "Lampe", "Schlauch", "Kessel"),
    "FR": ("Câble", "Souris", "Lampe", "Tuyau", "Bouilloire"),
    "JP": ("ケーブル", "マウス", "ライト", "ホース", "ケトル"),
}
FAMILIES, SIZES = 12, 5
FUSION: Final = ("sources=[covisit_near, item_vectors]", "rounds=5", "min_leaf=3", "folds=2", "threads=1")
SELECT: Final = (
    *("sources=[covisit_near, title_vectors]", "folds=2", "rounds=3", "choice_rounds=4", "min_leaf=3", "products=20"),
    *("titles=8", "threads=1"),
)
TRIALS: Final = 4  # all points of `SPACE`, so that a lost one is made again alike
NEURAL: Final = ("embedding_size=8", "max_epochs=1", "batch_size=64")
PROMPT: Final = """summary: The last titles, one a line.
variables:
  products: the products
  product.brand: the maker
  words.next: what comes next
  locale: the shop
template: |
  {% for product in products %}
  {{ loop.index }}. {{ product.title }} ({{ product.brand }})
  {% endfor %}
  {{ words.next }} [{{ locale }}]:
wording:
  en: {next: Next}
  de: {next: Weiter}
  ja: {next: 次}
"""
RECIPE: Final = """# one of ours
kind: ranker
ranker: covisit
summary: Pairs of a few places
settings:
  neighbours: 40
  recency: 0.6
  history: 5
  forward: [1.0, 0.5, 0.25]
  backward: [0.1]
  repeats: false
  locale_weight: 0.5
  hop_weight: 0.1
paper: {recency: "4.2"}
"""
LANGUAGES: Final = """locales:
  NL: {language: nl, bleu: 13a}
  DE: {language: de, bleu: intl}
phrases:
  next_title/instruct_v1:
    nl: {viewed: "Een klant bekeek deze producten:", next: "Titel van het volgende product:"}
"""


def sets(*settings: str) -> list[str]:
    """``--set`` before each setting."""
    return [word for one in settings for word in ("--set", one)]


class Shop:
    """Artefacts by name: `path` makes one where it is missing.

    Attributes:
        root: Folder of all of them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """An artefact, by the name of the file or folder; those that it needs are made before it."""
        target = self.root / name
        makers = MAKERS
        stem = name.partition("/")[0]
        if not (self.root / stem).exists():
            needs, make = makers[stem]
            for need in needs:
                self.path(need)
            work = self.root / f"making-{os.getpid()}"
            shutil.rmtree(work, ignore_errors=True)
            outcome = forked(lambda: make(self, self.root / stem), seconds=300)
            if outcome.kind != "answered":
                raise RuntimeError(f"{name} cannot be made: {outcome.kind} {outcome.message}")
        return target

    def make(self, names: Iterable[str] = ()) -> None:
        """Make those that are missing, all if none is named."""
        for name in names or MAKERS:
            self.path(name)

    def __truediv__(self, name: str) -> Path:
        return self.root / name


def _rows() -> list[tuple[list[str], str, str]]:
    """All sessions that there are, none twice, shuffled: items, target, locale."""
    rows = []
    for locale, family, start, length in itertools.product(LOCALES, range(FAMILIES), range(SIZES), (2, 3, 4)):
        items = [f"B{family:02d}{(start + step) % SIZES}" for step in range(length + 1)]
        rows.append((items[:-1], items[-1], locale))
    Random(5).shuffle(rows)
    return rows


def _raw(shop: Shop, folder: Path) -> None:
    folder.mkdir()
    with (folder / "products_train.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(
            ["id", "locale", "title", "price", "brand", "color", "size", "model", "material", "author", "desc"]
        )
        for locale in LOCALES:
            for family in range(FAMILIES):
                for size in range(SIZES):
                    title = f"Brand{family} {WORDS[locale][family % 5]} {family}, {size + 1} cm"
                    color = ("black", "white", "")[size % 3]
                    row = (f"B{family:02d}{size}", locale, title, 9.5 + size, f"Brand{family}", color, "", "", "", "")
                    writer.writerow((*row, "a, b"))
    rows = _rows()
    _sessions_csv(folder / "sessions_train.csv", rows[:150], labelled=True)
    _sessions_csv(folder / "sessions_test_task3_phase1.csv", rows[150:180], labelled=True)


def _sessions_csv(path: Path, rows: Any, labelled: bool) -> None:
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["prev_items", *(["next_item"] if labelled else []), "locale"])
        for items, target, locale in rows:
            printed = "[" + " ".join(f"'{one}'" for one in items) + "]"
            writer.writerow([printed, *([target] if labelled else []), locale])


def _store(shop: Shop, folder: Path) -> None:
    command("data", "import", shop / "raw", folder)


def _embeddings(shop: Shop, folder: Path) -> None:
    command("embed", "products", shop / "store/products.parquet", "--out", folder, "--dim", 16)


def _files(shop: Shop, folder: Path) -> None:
    """Sessions, products and targets as a user has them: CSV and Parquet."""
    import pyarrow.csv
    import pyarrow.parquet as pq

    folder.mkdir()
    rows = _rows()[200:260]
    _sessions_csv(folder / "sessions.csv", rows[:40], labelled=True)
    bare = rows[40:]
    _sessions_csv(folder / "bare.csv", bare, labelled=False)
    with (folder / "targets.csv").open("w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["next_item", "locale"])
        writer.writerows((target, locale) for _, target, locale in bare)
    products = pq.read_table(shop / "store/products.parquet")
    pq.write_table(products, folder / "products.parquet")
    shutil.copy(shop / "raw/products_train.csv", folder / "products.csv")
    for name, some in (("sessions", rows[:40]), ("bare", bare)):
        columns: dict[str, Any] = {"prev_items": [items for items, _, _ in some]}
        if name == "sessions":
            columns["next_item"] = [target for _, target, _ in some]
        columns["locale"] = [locale for _, _, locale in some]
        pq.write_table(pyarrow.table(columns), folder / f"{name}.parquet")
    targets = {"next_item": [target for _, target, _ in bare], "locale": [locale for _, _, locale in bare]}
    pq.write_table(pyarrow.table(targets), folder / "targets.parquet")


def _ranking_run(shop: Shop, folder: Path) -> None:
    store = shop / "store"
    learn, ask = store / "sessions_development.parquet", store / "sessions_validation.parquet"
    for ranker in ("covisit", "popularity"):
        command("rank", ranker, "--train", learn, "--sessions", ask, "--k", 20, "--out", folder / f"{ranker}.parquet")
    command("last-title", store, "--out", folder / "titles.parquet")
    command("last-title", store, "--split", "test_task3_phase1", "--out", folder / "test_titles.parquet")
    files = shop / "files"
    command("rank", "popularity", "--train", files / "sessions.parquet", "--sessions", files / "bare.parquet",
            "--k", 10, "--out", folder / "bare.parquet")  # fmt: skip


def _results(shop: Shop, folder: Path) -> None:
    targets, runs = shop / "store/sessions_validation.parquet", shop / "runs"
    folder.mkdir()
    for name in ("covisit", "popularity", "titles"):
        command("evaluate", runs / f"{name}.parquet", "--targets", targets, "--json", folder / f"{name}.json")


def _ranker(name: str, *settings: str) -> Callable[[Shop, Path], None]:
    def make(shop: Shop, folder: Path) -> None:
        learn, products = shop / "store/sessions_development.parquet", shop / "store/products.parquet"
        command("rank", name, "--train", learn, "--products", products, "--save", folder, *sets(*settings))

    return make


def _index(kind: str) -> Callable[[Shop, Path], None]:
    def make(shop: Shop, folder: Path) -> None:
        if kind == "pq":  # FAISS learns 256 centroids and wants as many vectors
            _many(shop, folder)
        else:
            shutil.copytree(shop / "embeddings", folder)
        more = folder.with_name(f"{folder.name}-more.csv")
        lines = (shop / "raw/products_train.csv").read_text(encoding="utf-8").splitlines()
        more.write_text("\n".join([lines[0], *(line.replace("B0", "C0", 1) for line in lines[1:4])]) + "\n", "utf-8")
        structured()
        command("index", folder, "--kind", kind)
        command("index", folder, "--add", more)
        more.unlink()

    return make


def _many(shop: Shop, folder: Path) -> None:
    """Embeddings of a shop with one locale of 300 products."""
    import pyarrow.parquet as pq

    one = pq.read_table(shop / "store/products.parquet").filter(_is_german())
    titles = [f"{title} {number} {'xyz'[number % 3] * 3}" for number in range(5) for title in one["title"].to_pylist()]
    ids = [f"{item}" if not number else f"D{number}{item[1:]}" for number in range(5) for item in one["id"].to_pylist()]
    products = folder.with_name("many.parquet")
    pq.write_table(pa_table(id=ids, locale=["DE"] * len(ids), title=titles), products)
    command("embed", "products", products, "--out", folder, "--dim", 16, "--no-index")


def _is_german() -> Any:
    import pyarrow.compute as pc

    return pc.field("locale") == "DE"


def pa_table(**columns: Any) -> Any:
    """An Arrow table."""
    import pyarrow as pa

    return pa.table(columns)


def structured() -> None:
    """Have this process build and search FAISS's structures where a catalogue this small would be searched exactly."""
    from functools import partial

    from llmrec.text.search import build, index

    index.EXACT_ROWS = 0  # type: ignore[misc]
    build.build_index = partial(build.build_index, exact_rows=0)  # type: ignore[assignment]


def _encoder(shop: Shop, folder: Path) -> None:
    learn, products = shop / "store/sessions_development.parquet", shop / "store/products.parquet"
    small = sets("dim=16", "vocabulary=500", "max_epochs=1")
    command("embed", "train", "--train", learn, "--products", products, "--out", folder, *small)
    shutil.rmtree(folder.with_name(f"{folder.name}.training"), ignore_errors=True)


def _tuned(shop: Shop, folder: Path) -> None:
    folder.mkdir()
    command(*tune_words(shop, folder))


def tune_words(shop: Shop, folder: Path) -> list[object]:
    """The command whose search `Shop` keeps; given again it finds all its trials done."""
    learn = shop / "store/sessions_development.parquet"
    return [
        "tune",
        "covisit",
        "--train",
        learn,
        "--out",
        folder / "tuned.yaml",
        "--trials",
        TRIALS,
        "--space",
        SPACE(shop),
    ]


def SPACE(shop: Shop) -> Path:  # noqa: N802
    """A search space of four points."""
    path = shop / "space.yaml"
    if not path.exists():
        path.write_text("search:\n  neighbours: [20, 40]\n  history: [3, 5]\n", encoding="utf-8")
    return path


def _model(shop: Shop, folder: Path) -> None:
    tiny = ("--tiny-width", 32, "--tiny-layers", 1, "--tiny-vocab", 400, "--max-steps", 2, "--batch-size", 4)
    work = folder.with_name("generated")
    command("generate", "--data", shop / "store", "--base-model", "tiny", "--k", 1, "--output-dir", work, *tiny,
           "--log-to", "none", "--limit", 4, "--max-target-tokens", 8, "--max-source-tokens", 32)  # fmt: skip
    shutil.copytree(work / "model", folder)


def _selector(shop: Shop, folder: Path) -> None:
    command("select", "--data", shop / "store", "--split", "validation", "--save", folder, *sets(*SELECT))


def _records(shop: Shop, folder: Path) -> None:
    command("reproduce", "table1", "--data", shop / "store", "--out", folder)


def until(place: str, act: Callable[[], object]) -> None:
    """Run something in a process that dies where it calls a function of the package: what it leaves is unfinished."""

    def die(*_: Any, **__: Any) -> None:
        os._exit(0)

    pid = os.fork()
    if not pid:
        try:
            for module in [one for name, one in sys.modules.items() if name.startswith("llmrec.")]:
                if callable(getattr(module, place, None)):
                    setattr(module, place, die)
            act()
        finally:
            os._exit(1)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"{place} was not called")


def _unfinished(place: str, words: Callable[[Shop, Path], Any]) -> Callable[[Shop, Path], None]:
    def make(shop: Shop, folder: Path) -> None:
        folder.mkdir()
        until(place, lambda: words(shop, folder))

    return make


def embed_again(shop: Shop, folder: Path) -> object:
    """The command that `Shop` keeps an unfinished folder of."""
    return command("embed", "products", shop / "store/products.parquet", "--out", folder / "vectors", "--dim", 8)


def select_again(shop: Shop, folder: Path) -> object:
    """The same with chosen titles."""
    return command("select", "--load", shop / "selector", "--data", shop / "store", "--split", "validation",
                   "--resume", "--out", folder / "run.parquet")  # fmt: skip


def generate_again(shop: Shop, folder: Path) -> object:
    """The same with written titles."""
    return command("generate", "--data", shop / "store", "--model", shop / "model", "--limit", 4, "--resume",
                  "--output-dir", folder / "work", "--log-to", "none")  # fmt: skip


def compare_again(shop: Shop, folder: Path) -> object:
    """A comparison of prompts, whose answers are kept."""
    return command("prompts", "compare", "plain", "--data", shop / "store", "--model", shop / "model", "--k", 1,
                   "--sessions", 4, "--out", folder / "compared", "--cache", folder / "answers.sqlite")  # fmt: skip


def _answers(shop: Shop, folder: Path) -> None:
    folder.mkdir()
    compare_again(shop, folder)
    shutil.rmtree(folder / "compared")


def _text(name: str, content: str) -> Callable[[Shop, Path], None]:
    def make(_: Shop, folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_text(content, encoding="utf-8")

    return make


def _log(shop: Shop, folder: Path) -> None:
    """A shop's log in three files of three forms, and its products."""
    import pyarrow.parquet as pq

    folder.mkdir()
    names = ("visitor_id", "sku", "event_time", "event_type", "locale")
    rows = []
    for visitor in range(60):
        for step in range(4):
            item, time = (
                f"B{visitor % FAMILIES:02d}{step}",
                f"2026-11-{1 + visitor % 20:02}T10:{step:02}:{visitor % 60:02}",
            )
            rows.append((f"v{visitor}", item, time, ("view", "cart")[step % 2], LOCALES[visitor % len(LOCALES)]))
    with (folder / "log.csv").open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle, lineterminator="\n").writerows([names, *rows[:80]])
    lines = [json.dumps(dict(zip(names, row, strict=True))) for row in rows[80:160]]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    columns = {name: [row[place] for row in rows[160:]] for place, name in enumerate(names)}
    pq.write_table(pa_table(**columns), folder / "log.parquet")
    shutil.copy(shop / "raw/products_train.csv", folder / "products.csv")


MAKERS: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Shop, Path], None]]]] = {
    "raw": ((), _raw),
    "store": (("raw",), _store),
    "files": (("store",), _files),
    "log": (("raw",), _log),
    "runs": (("store", "files"), _ranking_run),
    "results": (("runs",), _results),
    **{f"ranker-{name}": (("store",), _ranker(name)) for name in ("covisit", "vmis_knn", "popularity", "covisit_walk")},
    "ranker-gru4rec": (("store",), _ranker("gru4rec", *NEURAL)),
    "fusion": (("store",), _ranker("fusion", *FUSION)),
    "embeddings": (("store",), _embeddings),
    **{f"index-{kind}": (("embeddings",), _index(kind)) for kind in ("exact", "hnsw", "ivf", "pq")},
    "encoder": (("store",), _encoder),
    "tuned": (("store",), _tuned),
    "model": (("store",), _model),
    "selector": (("store",), _selector),
    "records": (("store",), _records),
    "half-embedded": (("store",), _unfinished("put_in_place", embed_again)),
    "half-chosen": (("selector",), _unfinished("write_run", select_again)),
    "half-written": (("model",), _unfinished("publish", generate_again)),
    "answers": (("model",), _answers),
    "prompt": ((), _text("own.yaml", PROMPT)),
    "languages": ((), _text("own.yaml", LANGUAGES)),
    "recipe": ((), _text("own.yaml", RECIPE)),
}  # fmt: skip
