"""What every encoder must do, whatever it is made of: one class that the tests of each encoder inherit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llmrec.errors import LlmrecError, ModelError
from llmrec.text.encoders.base import Encoder
from llmrec.text.encoders.registry import load_encoder, load_saved_encoder
from tests.text.encoders.makers import TITLES


class EncoderContract:
    """Tests of one encoder, which ``encoder`` gives; ``tolerance`` is what a batch may move a vector."""

    tolerance = 1e-5

    @pytest.fixture
    def encoder(self) -> Encoder:
        raise NotImplementedError

    def test_rows_have_length_1_and_a_blank_text_has_none(self, encoder: Encoder) -> None:
        texts = [*TITLES, "", "   ", "\t\n", "\u3000"]
        for vectors in (encoder.encode_documents(texts), encoder.encode_queries(texts)):
            assert vectors.dtype == np.float32
            assert vectors.shape == (len(texts), encoder.dim)
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1] * len(TITLES) + [0] * 4, atol=1e-5)

    def test_no_text_gives_no_rows(self, encoder: Encoder) -> None:
        assert encoder.encode_documents([]).shape == (0, encoder.dim)

    def test_odd_texts_are_texts(self, encoder: Encoder) -> None:
        odd = [
            "USB cable " * 10_000,  # 100 kB
            "USB" * 33_000,  # one word of 100 kB
            "😀👩‍👩‍👧 usb مرحبا 電気 ケトル",
            "{{ 7 * 7 }} usb {% raw %} <script>alert(1)</script>",
            "usb \ud800 cable",  # half of a pair, as a shell can hand over
        ]
        vectors = encoder.encode_documents(odd)
        assert np.isfinite(vectors).all()
        lengths = np.linalg.norm(vectors, axis=1)
        assert np.all((np.abs(lengths - 1) < 1e-4) | (lengths == 0))

    def test_a_batch_is_the_same_as_one_by_one(self, encoder: Encoder) -> None:
        texts = [*TITLES, "", "USB cable " * 30]
        alone = np.concatenate([encoder.encode_documents([text]) for text in texts])
        np.testing.assert_allclose(encoder.encode_documents(texts), alone, atol=self.tolerance)

    def test_save_then_load_gives_the_same(self, encoder: Encoder, tmp_path: Path) -> None:
        encoder.save(tmp_path / "kept")
        again = load_saved_encoder(tmp_path / "kept")
        assert (again.name, again.dim, again.fingerprint()) == (encoder.name, encoder.dim, encoder.fingerprint())
        np.testing.assert_allclose(again.encode_queries(TITLES), encoder.encode_queries(TITLES), atol=self.tolerance)
        by_name = load_encoder(str(tmp_path / "kept"), precision="fp32")
        assert by_name.fingerprint() == encoder.fingerprint()
        assert not list((tmp_path / "kept").rglob("*.pkl"))

    def test_a_damaged_folder_is_refused(self, encoder: Encoder, tmp_path: Path) -> None:
        encoder.save(tmp_path / "kept")
        file = next((tmp_path / "kept").rglob("*.safetensors"))
        content = bytearray(file.read_bytes())
        content[-4] ^= 0x55
        file.write_bytes(content)
        with pytest.raises(ModelError) as wrong:
            load_saved_encoder(tmp_path / "kept")
        assert "\n" not in str(wrong.value)
        file.write_bytes(bytes(content[: len(content) // 2]))
        with pytest.raises(LlmrecError):
            load_saved_encoder(tmp_path / "kept")
