"""Families of files: how a genuine one is read, by which real command, and what its answer is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.robustness import readers, texts, truth
from tests.robustness import shop as shops
from tests.robustness.readers import Reader
from tests.robustness.shop import Shop

__all__ = ["FAMILIES", "Family"]

Readers = Mapping[str, Reader]


@dataclass(frozen=True)
class Family:
    """A kind of file.

    Attributes:
        name: What the table calls it.
        part: The artefact of the shop that is copied and changed.
        files: Which files of it are changed, by pattern, and their form (`llmrec`'s, not the file's ending).
        readers: What reads it, by name; each is given the changed copy, a folder for what it writes and the shop, and
            gives the answer. A mutation is read by one of them.
        truth: What a strict reader of nothing but the format finds in the changed copy, for files that anybody may
            write: an answer may differ where this does, and must be refused where this raises. None for files of ours,
            of which no other content is genuine.
        sealed: Whether the folder has checksums, which hostile variants put right again.
        free: Whether any answer will do: what is asked is that there is one.
        change: Changes a copy in a way of its own, and says how; the mutators of ``files`` if None.
        sane: What is wrong with the answer of such a variant; None where it could be a genuine one's.
        seconds: Most seconds of a reading.
        share_of_bytes: Share of the mutations that know nothing of the form.
    """

    name: str
    part: str
    files: Mapping[str, str]
    readers: Readers
    truth: Callable[[Path], Any] | None = None
    sealed: bool = False
    free: bool = False
    change: Callable[[Path, Random], str] | None = None
    sane: Callable[[Any, Shop], str | None] = lambda answer, shop: None
    seconds: float = 20.0
    share_of_bytes: float = 0.4


# what a hostile variant may answer ------------------------------------------------------------------------------------


def sane_lists(answer: Any, shop: Shop) -> str | None:
    """Lists, or explanations of lists, hold known items once, at most k, for the locales that were asked for."""
    known = {
        f"{letter}{family:02d}{size}"
        for letter in "BC"
        for family in range(shops.FAMILIES)
        for size in range(shops.SIZES)
    }
    if isinstance(answer, list):
        answer = {"lists": [[product["id"] for product in one["products"]] for one in answer]}
    for one in answer.get("lists", ()):
        if not set(one) <= known:
            return f"an item that no catalogue has: {sorted(set(one) - known)[:2]}"
        if len(set(one)) < len(one) or len(one) > 10:
            return "an item twice, or too many"
    return None


def sane_hits(answer: Any, shop: Shop) -> str | None:
    """Hits are products of the catalogue, with cosines as scores, none twice."""
    if isinstance(answer, dict):
        return sane_lists(answer, shop)
    if any(not math.isfinite(score) or abs(score) > 1.001 for *_, score in answer):
        return "a score that is no cosine"
    if len({(locale, one) for locale, one, *_ in answer}) < len(answer):
        return "a product twice"
    return None


def sane_vectors(answer: Any, shop: Shop) -> str | None:
    """Vectors are finite."""
    return None if answer[-1] else "vectors that are not finite"


def sane_titles(answer: Any, shop: Shop) -> str | None:
    """A title a session."""
    return None if all(isinstance(one, str) for one in answer["lists"]) else "something else than titles"


# all of them ----------------------------------------------------------------------------------------------------------

FOLDER: Final = {"**/*.json": "json", "**/*.safetensors": "safetensors", "**/*.npy": "npy", "**/*.parquet": "parquet"}
INDEX: Final = {
    "index/**/*.json": "json",
    "index/**/*.npy": "npy",
    "index/**/*.parquet": "parquet",
    "index/main*/*": "bytes",
}


_ASKED: Final = {
    "title": readers.similar("Brand3 Lampe, 2 cm"),
    "product": readers.similar("--product", "B010", "--locale", "DE"),
    "session": readers.similar("--session", "B010 B021 C001"),
}
_MODEL: Final = {"*.json": "json", "*.safetensors": "safetensors", "*.model": "bytes"}


def _of_ours() -> Iterator[Family]:
    """What commands write."""
    by: Readers = {"last-title": readers.last_title, "reproduce": readers.reproduced}
    yield Family("store manifest", "store", {"manifest.json": "json"}, by, sealed=True)
    by = {"rank": readers.rank_store, "last-title": readers.last_title, "evaluate": readers.evaluate_store}
    yield Family("store tables", "store", {"*.parquet": "parquet"}, by, truth.tables)
    for kind in ("exact", "hnsw", "ivf", "pq"):
        by = _ASKED if kind == "pq" else {**_ASKED, "ground": readers.ground}
        yield Family(f"index {kind}", f"index-{kind}", INDEX, by, sealed=True, sane=sane_hits)
    by = {"align": readers.align, "text_knn": readers.text_knn}
    yield Family("embeddings", "embeddings", {"*.*": "any", "encoder/*": "any"}, by, sealed=True)
    yield Family("tune trials", "tuned", {"tuned.search/*.jsonl": "jsonl"}, {"tune": readers.tuned}, sealed=True)
    files = {"records/**/*.json": "json", "data.txt": "bytes"}
    by = {"resume": readers.resumed, "recorded": readers.held_against}
    yield Family("reproduction records", "records", files, by, sealed=True)
    yield Family("result JSON", "results", {"covisit.json": "json"}, {"results": readers.results}, sealed=True)
    for name in ("covisit", "titles"):
        files = {f"{name}.parquet": "parquet", f"{name}.json": "json"}
        by = {"evaluate": readers.evaluated(name), "select": readers.chosen_among(name)}
        more: Readers = {"ground": readers.grounded, "compare": readers.compared}
        by = {**by, "blend": readers.blended} if name == "covisit" else {**by, **more}
        yield Family(f"run {name}", "runs", files, by, truth.run(name), sealed=True)
    for name in ("covisit", "popularity", "vmis_knn", "covisit_walk", "gru4rec"):
        by = {"rank": readers.loaded(name)}
        yield Family(f"ranker {name}", f"ranker-{name}", FOLDER, by, sealed=True, sane=sane_lists)
    by = {"rank": readers.loaded("fusion"), "explain": readers.explained}
    yield Family("ranker fusion", "fusion", FOLDER, by, sealed=True, sane=sane_lists)
    yield Family("static encoder", "encoder", FOLDER, {"embed": readers.encoded}, sealed=True, sane=sane_vectors)
    yield Family("selector", "selector", FOLDER, {"select": readers.selected}, sealed=True, sane=sane_titles)
    by = {"embed": readers.embedded_again}
    yield Family("unfinished embed", "half-embedded", {"**/*.*": "any"}, by, sealed=True)
    yield Family("unfinished select", "half-chosen", {"**/*.*": "any"}, {"select": readers.chosen_again}, sealed=True)
    by = {"gen": readers.written_again}
    yield Family("unfinished gen", "half-written", {"work/parts*/*": "jsonl"}, by, sealed=True, seconds=60.0)
    by = {"compare": readers.compared_again}
    yield Family("answers cache", "answers", {"*.sqlite": "sqlite"}, by, seconds=60.0)
    yield Family("title model", "model", _MODEL, {"gen": readers.written}, truth.bytes_of, seconds=60.0)


def _of_users() -> Iterator[Family]:
    """What people write."""
    for form in ("csv", "parquet"):
        files = {f"sessions.{form}": form, f"bare.{form}": form}
        by: Readers = {"rank": readers.sessions(form), "holdout": readers.held_out(form), "pick": readers.picked(form)}
        yield Family(f"session {form}", "files", files, by, truth.sessions(form))
        by = {"embed": readers.embedded(form), "rank": readers.sold(form)}
        yield Family(f"product {form}", "files", {f"products.{form}": form}, by, truth.products(form))
        by = {"evaluate": readers.targets(form)}
        yield Family(f"targets {form}", "files", {f"targets.{form}": form}, by, truth.targets(form))
    yield Family("raw files", "raw", {"*.csv": "csv"}, {"import": readers.imported}, truth.raw)
    files = {"log.csv": "log", "log.jsonl": "jsonl", "log.parquet": "parquet", "products.csv": "csv"}
    yield Family("event log", "log", files, {"events": readers.logged}, free=True, share_of_bytes=0.3)
    yield Family("odd texts", "raw", {}, texts.READERS, free=True, change=texts.change)
    by = {"rank": readers.with_recipe, "set": readers.with_settings}
    yield Family("recipe", "recipe", {"own.yaml": "yaml"}, by, truth.yaml)
    by = {"render": readers.rendered}
    yield Family("prompt", "prompt", {"own.yaml": "prompt"}, by, truth.yaml, share_of_bytes=0.2)
    by = {"evaluate": readers.scored_under, "render": readers.rendered_under}
    yield Family("language file", "languages", {"own.yaml": "yaml"}, by, truth.yaml)


FAMILIES: Final[Mapping[str, Family]] = {family.name: family for family in (*_of_ours(), *_of_users())}
