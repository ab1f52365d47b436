"""``llmrec generate`` and ``select`` with ``--engine spark``: titles of sessions that never pass through here."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

from llmrec.cluster.ordered_rows import SESSIONS, ordered_rows, spread
from llmrec.cluster.parts_run import check_run, cluster_of, told_by, write_run_parts
from llmrec.cluster.title_work import Choosing, Writing
from llmrec.console import progress_bar
from llmrec.data.spark.session import spark_session
from llmrec.data.spark.storage import explained, needed_uri, ship
from llmrec.errors import ConfigError
from llmrec.evaluation.provenance import collect_provenance
from llmrec.files import uri_of
from llmrec.hub.pull import local_folder
from llmrec.selection.settings import SelectJob
from llmrec.text.prompts import load_prompt
from llmrec.titles.settings import GenerateConfig

__all__ = ["select_on_executors", "write_on_executors"]

_PART: Final = 2_000  # sessions of a partition that a model writes for: a minute or some
_WRITING: Final = {
    *("engine", "master", "data", "split", "model", "out", "k", "prompt", "max_source_tokens", "max_target_tokens"),
    *("chat", "base_model", "num_beams", "generate_batch_size", "backend"),
}
_CHOOSING: Final = {"engine", "master", "data", "split", "sessions", "products", "load", "out", "ablate"}


def write_on_executors(job: GenerateConfig) -> None:
    """Write titles for the sessions of a store at a URI with a model that is trained, and the run at another.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: sessions or products are missing or malformed.
        MissingExtraError: pyspark is not installed.
    """
    started = time.monotonic()
    _refuse_others(job, _WRITING, "writes with a model that is trained")
    if job.model is None or job.data is None or job.out is None:
        raise ConfigError("--engine spark needs --model MODEL, --data URI and --out URI")
    store, target = needed_uri(job.data, "--data").rstrip("/"), needed_uri(job.out, "--out")
    check_run(target)
    source = f"{store}/sessions_{job.split}.parquet"
    asked = {name: getattr(job, name) for name in ("k", "prompt", "max_source_tokens", "max_target_tokens")}
    base = {} if job.base_model == "tiny" else {"base": job.base_model}
    asked |= base | {"chat": job.chat, "backend": job.backend}
    with spark_session(job.master) as session, progress_bar() as bar:
        bar.add_task("write titles", total=None, note=f"{source} on {session.sparkContext.master}")
        asked["prompt"] = _shipped_prompt(session, job.prompt)
        work = Writing(_shipped(session, job.model), json.dumps(asked), job.num_beams, job.generate_batch_size)
        told = told_by(session, work.told, "--model")
        rows, parts = ordered_rows(session, source, SESSIONS, _PART)
        with explained(f"{store}/products.parquet"):
            products = session.read.parquet(f"{store}/products.parquet")
            histories = spread(_recent(rows, products, told["fields"], told["k"]), parts)
        record = told["provenance"] | collect_provenance(None, None, None, started) | {"sessions": source}
        record |= {"cluster": cluster_of(session, parts), "split": job.split}
        write_run_parts(session, target, "titles", rows, partial(histories.mapInArrow, work.written), record)


def select_on_executors(job: SelectJob) -> None:
    """Choose titles for sessions at a URI with a selector that was saved, and write the run at another.

    Raises:
        ConfigError: the settings do not fit together, or the cluster lacks something.
        DataError: sessions or products are missing or malformed.
        MissingExtraError: pyspark is not installed.
    """
    started = time.monotonic()
    _refuse_others(job, _CHOOSING, "chooses with a saved selector")
    if job.load is None or job.out is None:
        raise ConfigError("--engine spark needs --load SELECTOR and --out URI")
    target = needed_uri(job.out, "--out")
    check_run(target)
    if job.data is not None:
        store = needed_uri(job.data, "--data").rstrip("/")
        source, shop = f"{store}/sessions_{job.split}.parquet", f"{store}/products.parquet"
    else:
        source, shop = needed_uri(job.sessions, "--sessions"), needed_uri(job.products, "--products")
    with spark_session(job.master) as session, progress_bar() as bar:
        bar.add_task("select", total=None, note=f"{source} on {session.sparkContext.master}")
        work = Choosing(_shipped(session, str(job.load)), ship(session, Path(shop)))
        told = told_by(session, work.told, "--load")
        rows, parts = ordered_rows(session, source, SESSIONS)
        record = told | collect_provenance(None, told["settings"].get("seed"), None, started)
        record |= {"method": "title selector", "sessions": source, "cluster": cluster_of(session, parts)}
        write_run_parts(session, target, "titles", rows, partial(rows.mapInArrow, work.written), record)


def _refuse_others(job: Any, allowed: Collection[str], what: str) -> None:
    """Refuse settings that are of a training, or of what is done in one process."""
    for one in dataclasses.fields(job):
        default = one.default if one.default is not dataclasses.MISSING else None
        if one.name not in allowed and getattr(job, one.name) not in (default, {}, ()):
            raise ConfigError(f"--engine spark {what}; leave --{one.name.replace('_', '-')} out")


def _shipped(session: Any, model: str) -> str:
    """A model's folder, or its GGUF file, on every node; a hub's name as it is, which each node then fetches."""
    if uri_of(model) and not model.startswith("hf:/"):
        return ship(session, Path(model))
    folder = local_folder(model)
    if folder.is_file():
        return _shipped_file(session, folder)
    return ship(session, folder) if folder.is_dir() else model


def _shipped_file(session: Any, file: Path) -> str:
    session.sparkContext.addFile(str(file))
    return f"shipped:{file.name}"


def _shipped_prompt(session: Any, prompt: str | None) -> str | None:
    """A prompt's file on every node, as `llmrec.data.spark.storage.shared_folder` takes it; a name as it is."""
    if prompt is None or not prompt.endswith((".yaml", ".yml")):
        return prompt
    load_prompt(prompt)  # refuses what is none, here and now
    return _shipped_file(session, Path(prompt))


def _recent(rows: Any, products: Any, fields: Sequence[str], k: int) -> Any:
    """Sessions with their ``k`` most recent titled products, oldest first, as lists of structs of texts."""
    items = rows.selectExpr("file", "row", "locale", "posexplode(prev_items) AS (place, id)")
    titled = products.filter("trim(title) <> ''").selectExpr("locale", "id", *(_text(name) for name in fields))
    found = items.join(titled, ["locale", "id"]).selectExpr("file", "row", f"struct(place, {', '.join(fields)}) AS one")
    listed = found.groupBy("file", "row").agg({"one": "collect_list"}).withColumnRenamed("collect_list(one)", "some")
    struct = ", ".join(f"one.{name} AS {name}" for name in fields)
    recent = f"transform(slice(sort_array(some), -least({k}, size(some)), {k}), one -> struct({struct})) AS products"
    kind = f"array<struct<{','.join(f'{name}:string' for name in fields)}>>"
    joined = rows.select("file", "row", "locale").join(
        listed.selectExpr("file", "row", recent), ["file", "row"], "left"
    )
    return joined.selectExpr("file", "row", "locale", f"coalesce(products, CAST(array() AS {kind})) AS products")


def _text(name: str) -> str:
    """A field as text, "" where it is null; a whole price without its ``.0``."""
    text = f"CAST({name} AS string)"
    if name == "price":
        text = rf"regexp_replace({text}, '\\.0$', '')"
    return f"coalesce({text}, '') AS {name}"
