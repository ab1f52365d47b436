from __future__ import annotations

from pathlib import Path

import pytest
from accelerate import Accelerator
from datasets import Dataset

from llmrec.data.store import Store
from llmrec.errors import DataError, ModelError
from llmrec.evaluation.bleu import own_bleu
from llmrec.evaluation.runs import read_run
from llmrec.records import line_text
from llmrec.titles.decoding import decode
from llmrec.titles.decoding.title_in_answer import clean_title
from llmrec.titles.generation import run_generation
from llmrec.titles.models.causal import continue_prompts
from llmrec.titles.models.model import build_tiny_mt5, load_model
from llmrec.titles.settings import GenerateConfig
from llmrec.titles.title_writer import TitleWriter
from tests.conftest import TITLES
from tests.titles.tiny_llm import talkative, write_tiny_llm


def test_validation_counts_a_title_as_its_locales_language_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a checkpoint is chosen by: a Japanese title is one token of 13a, however much of it is right."""
    written, wanted = ["青い丸い傘", "a b c d e", "none"], ["青い丸い空", "a b c d f", None]
    tokens = [[row] * (row + 1) for row in range(3)]
    sessions = Dataset.from_dict(
        {"input_ids": tokens, "labels": tokens, "locale": ["JP", "UK", "DE"], "target_title": wanted}
    )
    monkeypatch.setattr(decode, "decode_batch", lambda *args, **_: [written[row[0]] for row in args[2]])
    model, config = build_tiny_mt5(300, 32, 1, 0), GenerateConfig()
    score = decode.validation_bleu(Accelerator(cpu=True), model, None, sessions, config=config, max_tokens=9)
    expected = own_bleu(["青い丸い傘", "a b c d e"], ["青い丸い空", "a b c d f"], ["JP", "UK"])
    # 13a would find 4, 3, 2 and 1 n-grams of 6, 4, 3 and 2
    assert score == pytest.approx(expected) != pytest.approx(100 * (4 / 6 * 3 / 4 * 2 / 3 * 1 / 2) ** (1 / 4))


def test_a_tokenizer_that_knows_more_than_the_model_is_one_line() -> None:
    model = build_tiny_mt5(300, 32, 1, 0)
    with pytest.raises(ModelError, match="a token 300, the model's weights end at 299; copy both again"):
        decode.decode_batch(model, None, [[5, 300, 1], []], max_tokens=4)


def test_a_half_written_title_of_none_is_one_line(tmp_path: Path) -> None:
    line = line_text({"key": "k", "row": 0, "titles": []}, 1)
    (tmp_path / "0-of-1-x.jsonl").write_text(line, encoding="utf-8")
    with pytest.raises(DataError, match="remove it and give the same command again"):
        decode._read_parts(tmp_path, "k")


def test_an_answer_of_a_model_that_nobody_taught_is_cut_to_its_title(tmp_path: Path, tiny_store: Store) -> None:
    """By the writer, piece by piece, and by a generation alike."""
    folder = write_tiny_llm(tmp_path / "llm", [title for titles in TITLES.values() for title in titles], chat=False)
    model, tokenizer = load_model(str(folder))
    talkative(model, tokenizer, [5, 6, 7]).save_pretrained(folder)
    writer = TitleWriter.load(folder, max_target_tokens=40)
    histories = [[f"{title} {number}"] for titles in TITLES.values() for title in titles for number in range(3)]
    said = [
        continue_prompts(writer.model, writer.tokenizer, [tokens], max_tokens=40)[0]
        for tokens in writer._tokens(histories, "UK")[1]
    ]
    assert any("\n" in answer.strip() for answer in said)
    titles = list(writer.write(histories, "UK"))
    assert titles == [clean_title(answer) for answer in said]
    assert ["".join(writer.stream(history, "UK")) for history in histories[:4]] == titles[:4]
    out = tmp_path / "run.parquet"
    run_generation(GenerateConfig(data=tiny_store.path, model=str(folder), out=out, output_dir=tmp_path / "g"))
    assert not any("\n" in title for title in read_run(out).predictions.to_pylist())
