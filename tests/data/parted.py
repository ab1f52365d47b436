"""Tables as Spark writes them, by hand: folders of Parquet parts, with the marks that it leaves beside."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

from llmrec.records import record_text


def parted(file: Path, folder: Path) -> None:
    """A Parquet file's rows in parts that are in order by their names; the second is empty, as an executor's may be."""
    folder.mkdir(parents=True)
    table = pq.read_table(file, partitioning=None)
    half = len(table) // 2
    for number, (start, stop) in enumerate([(0, half), (half, half), (half, len(table))]):
        rows = table.slice(start, stop - start).replace_schema_metadata({"org.apache.spark.version": "4.0.1"})
        pq.write_table(rows, folder / f"part-{number:05}-4d7a-c000.zstd.parquet", compression="zstd")
        (folder / f".part-{number:05}-4d7a-c000.zstd.parquet.crc").write_bytes(b"crc")
    (folder / "_SUCCESS").touch()


def parted_store(store: Path, out: Path) -> Path:
    """A store of one machine with each table in parts, and the manifest that a cluster writes."""
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8")) | {"tables": {}, "locales": {}}
    for file in store.glob("*.parquet"):
        parted(file, out / file.name)
        locales = Counter(pq.read_table(file, columns=["locale"], partitioning=None)["locale"].to_pylist())
        manifest["tables"][file.stem] = {"rows": locales.total()}
        manifest["locales"][file.stem] = locales
    manifest.pop("checksum", None)
    (out / "manifest.json").write_text(record_text(manifest), encoding="utf-8")
    return out
