"""What work was estimated to take of memory, beside what it took: neural rankers, fusion, writing titles, encoding."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.measure import Measurement, Size, app, measure, show, store_of
from llmrec.memory import readable

__all__ = ["work_memory"]

LLAMA = {"num_hidden_layers": 6, "num_attention_heads": 8, "num_key_value_heads": 2, "tie_word_embeddings": True}
NEURAL: dict[str, tuple[str, int, dict[str, Any]]] = {  # sizes that leave no small batch at an epoch's end
    "gru4rec, width 64, 535 sessions": ("gru4rec", 1_500, {"batch_size": 535, "embedding_size": 64}),
    "gru4rec, width 128, 1,069 sessions": ("gru4rec", 3_000, {"batch_size": 1_069, "embedding_size": 128}),
    "core, width 128, 1,069 sessions": ("core", 3_000, {"batch_size": 1_069, "embedding_size": 128}),
    "narm, width 64, 535 sessions": ("narm", 1_500, {"batch_size": 535, "embedding_size": 64}),
    "srgnn, width 64, 535 sessions": ("srgnn", 1_500, {"batch_size": 535, "embedding_size": 64}),
}
FUSION = {"fusion, 2,000 sessions": 2_000, "fusion, 6,000 sessions": 6_000}
WRITING: dict[str, tuple[dict[str, Any], int, int, int]] = {  # sizes, sessions, tokens of prompts and beams
    "Llama of width 256, 32 prompts of 256 tokens": ({"hidden_size": 256, "intermediate_size": 1024}, 32, 256, 1),
    "the same, 16 prompts, 4 beams": ({"hidden_size": 256, "intermediate_size": 1024}, 16, 256, 4),
    "Llama of width 512, 16 prompts of 512 tokens": ({"hidden_size": 512, "intermediate_size": 2048}, 16, 512, 1),
    "mT5 of width 256, 32 prompts of 256 tokens": ({"d_model": 256, "d_ff": 1024}, 32, 256, 1),
    "the same, 8 prompts of 512 tokens, 4 beams": ({"d_model": 256, "d_ff": 1024}, 8, 512, 4),
}
ENCODING = {  # layers' width, texts at once, words of each
    "encoder of width 384, 32 texts of 30 words": (384, 32, 30),
    "the same, 32 texts of 300 words": (384, 32, 300),
    "encoder of width 768, 16 texts of 200 words": (768, 16, 200),
}
TITLE = 32  # tokens


def _kib(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


class _Watch:
    """Bytes that the process came to hold beyond what it held at `start`."""

    def start(self) -> None:
        self._before = _kib("VmRSS")
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")

    def peak(self) -> int:
        return 1024 * (_kib("VmHWM") - self._before)


def _neural(store: Path, name: str) -> Mapping[str, float]:
    from llmrec.rankers import ranker_class, read_training_files
    from llmrec.rankers.neural import train
    from llmrec.settings import resolve

    ranker, sessions, settings = NEURAL[name]
    watch, original = _Watch(), train._fitting_softmax
    found: dict[str, float] = {}

    def asked(scorer: Any, prefixes: Any, given: Any, accelerator: Any) -> str:
        found["estimate"] = train.training_bytes(scorer, prefixes, given, given.batch_size, given.loss)
        watch.start()
        return str(original(scorer, prefixes, given, accelerator))

    train._fitting_softmax = asked  # type: ignore[assignment]
    cls = ranker_class(ranker)
    shared = {"loss": "full", "max_epochs": 1, "validation_share": 0.0}
    training = read_training_files([store / "sessions_development.parquet"]).take(np.arange(sessions))
    cls(resolve(cls.settings_class, shared | settings)).fit(training)
    return found | {"measured": watch.peak()}


def _fusion(store: Path, name: str) -> Mapping[str, float]:
    from llmrec.rankers import read_training_files
    from llmrec.rankers.fusion import ranker
    from llmrec.rankers.fusion.training import learning_bytes
    from llmrec.rankers.recipes import ranker_settings

    watch, original = _Watch(), ranker._ask_for_memory
    found: dict[str, float] = {}

    def asked(first: Any, settings: Any, sessions: int) -> None:
        found.update(estimate=learning_bytes(first, settings, sessions), held=first.examples.features.nbytes)
        watch.start()
        original(first, settings, sessions)

    ranker._ask_for_memory = asked
    changes = {"max_sessions": FUSION[name], "scorers": (), "sources": ("covisit_near", "item_vectors"), "rounds": 20}
    training = read_training_files([store / "sessions_development.parquet"])
    ranker.Fusion(ranker_settings("fusion", None, changes)).fit(training)
    return {"estimate": found["estimate"], "measured": watch.peak() + found["held"]}


def _writing(name: str) -> Mapping[str, float]:
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, LlamaConfig, MT5Config

    from llmrec.titles.decoding.cost import session_bytes

    sizes, sessions, tokens, beams = WRITING[name]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if "d_model" in sizes:
        config = MT5Config(vocab_size=32_000, d_kv=64, num_layers=6, num_heads=4, **sizes)
        model = AutoModelForSeq2SeqLM.from_config(config).eval()
    else:
        model = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=32_000, **LLAMA, **sizes)).eval()
    estimate = sessions * session_bytes(model, max_tokens=TITLE, num_beams=beams)(tokens)
    watch = _Watch()

    def write(number: int, length: int, title: int) -> None:
        rows = torch.full((number, length), 5)
        lengths = {"max_new_tokens": title, "min_new_tokens": title, "num_beams": beams}
        with torch.inference_mode():
            model.generate(input_ids=rows, attention_mask=torch.ones_like(rows), do_sample=False, **lengths)

    write(1, 4, 2)
    watch.start()
    write(sessions, tokens, TITLE)
    return {"estimate": estimate, "measured": watch.peak()}


def _encoding(name: str) -> Mapping[str, float]:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from llmrec.text.encoders import sentence

    width, texts, words = ENCODING[name]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = Path(os.environ["TMPDIR"], f"encoder-{os.getpid()}")
    config = BertConfig(
        vocab_size=1000,
        hidden_size=width,
        num_hidden_layers=6,
        num_attention_heads=width // 32,
        intermediate_size=4 * width,
    )
    BertModel(config).save_pretrained(folder)
    vocabulary = {word: place for place, word in enumerate(("[PAD]", "[UNK]", *(f"word{n}" for n in range(900))))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
    layers = Transformer(str(folder), max_seq_length=512)
    model = SentenceTransformer(modules=[layers, Pooling(width)], device="cpu")
    model.save(str(folder / "whole"), create_model_card=False)
    encoder = sentence.SentenceEncoder.open(str(folder / "whole"), "random", precision="fp32", batch_size=texts)
    documents = [" ".join(f"word{(n + m) % 900}" for m in range(words)) for n in range(texts)]
    encoder.encode_documents(["word1"])
    watch = _Watch()
    watch.start()
    encoder.encode_documents(documents)
    return {"estimate": texts * encoder._text_bytes(documents, ""), "measured": watch.peak()}


@app.command()
def work_memory(size: Size = "small", store: Path | None = None, only: str = "") -> None:
    """Estimates of the memory of training rankers, writing titles and encoding, beside what they took."""
    os.environ |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # freed is given back at once
    store = store or store_of(size)
    cases: list[tuple[str, Callable[[], Measurement]]] = [
        *((name, lambda name=name: measure(_neural, store, name)) for name in NEURAL),
        *((name, lambda name=name: measure(_fusion, store, name)) for name in FUSION),
        *((name, lambda name=name: measure(_writing, name)) for name in WRITING),
        *((name, lambda name=name: measure(_encoding, name)) for name in ENCODING),
    ]
    rows = []
    for name, take in cases:
        if only in name:
            found = take()
            estimate, measured = found.value["estimate"], found.value["measured"]
            note = f"{readable(estimate)} estimated, {readable(measured)} measured, ×{estimate / measured:.2f}"
            rows.append((name, found, note))
    show("memory of work", rows)
