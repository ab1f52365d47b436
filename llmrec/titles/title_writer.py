"""A model that writes titles, ready to be asked from Python: batches, one by one, or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self, cast

import numpy as np
import pyarrow as pa

from llmrec.api.public import public
from llmrec.errors import ConfigError, DataError, require, shown
from llmrec.evaluation.runs import Run, run_of, write_run
from llmrec.hub.methods import OnHub
from llmrec.text.prompts import Prompt

if TYPE_CHECKING:
    import pandas as pd

    from llmrec.titles.models.card import ModelCard

__all__ = ["History", "TitleWriter", "Titles", "check_at_least_1"]

History = Sequence[str | Mapping[str, str]]
"""What a session looked at, oldest first: titles, or products by the names of their columns."""
_SHOWN: Final = 10  # titles that a notebook shows


@dataclass(frozen=True, eq=False)
class Titles(Sequence[str]):
    """Titles of ``S`` sessions.

    Attributes:
        texts: ``S`` titles.
        locales: ``S`` locales.
        provenance: What wrote them; goes into the run.

    Example:
        >>> titles = Titles(["USB-C cable 2 m"], ["UK"])
        >>> titles[0], titles.to_pandas().title.tolist()
        ('USB-C cable 2 m', ['USB-C cable 2 m'])
    """

    texts: Sequence[str]
    locales: Sequence[str]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.texts)

    def __getitem__(self, row: Any) -> Any:
        return self.texts[row]

    def to_pandas(self) -> pd.DataFrame:
        """One row a session: ``locale`` and ``title``."""
        return pa.table({"locale": list(self.locales), "title": list(self.texts)}).to_pandas()

    @public
    def save(self, path: Path | str, *, partial: bool = False) -> None:
        """Write them as a run (Parquet, the KDD Cup's form) with its sidecar.

        Args:
            path: The Parquet file; a file that is there is replaced, as by ``llmrec generate --out``.
            partial: Whether these are only the first sessions of a split.

        Raises:
            DiskError: the place cannot be written.
        """
        write_run(Path(path), self.locales, self.texts, self.provenance, partial)

    def as_run(self) -> Run:
        """The same as a run that was read, for `llmrec.evaluate`."""
        return run_of(Path("titles"), self.locales, pa.array(self.texts, pa.string()))

    def _repr_html_(self) -> str:
        from llmrec.reporting.blocks import Table, Text  # a notebook alone needs pages
        from llmrec.reporting.page import table_html

        pairs = list(zip(self.locales, self.texts, strict=True))[:_SHOWN]
        rows: list[list[str | Text]] = [[locale, Text(title, locale)] for locale, title in pairs]
        return table_html(Table(("locale", "title"), rows, f"{len(self):,} titles; the first {len(rows)}", align="l"))


class TitleWriter(OnHub):
    """A model that writes the title of the next product (paper §4.3), with its prompt, K and lengths.

    Attributes:
        card: Prompt, K, lengths: what the model reads.
        prompt: How the K most recent titles are put to it.
        model: The `transformers` model.
        tokenizer: Its tokenizer.

    Example:
        >>> writer = TitleWriter.load("models/titles")
        >>> titles = writer.write([["USB-C cable 2 m", "USB-C charger 65 W"], ["Kettle 1.7 l"]], locale="UK")
        >>> len(titles)
        2
        >>> "".join(writer.stream(["Kettle 1.7 l"], locale="UK")) == titles[1]
        True
    """

    def __init__(self, model: Any, tokenizer: Any, card: ModelCard, prompt: Prompt, name: str) -> None:
        from llmrec.titles.models.causal import is_causal
        from llmrec.titles.prompting.affixes import build_affixes
        from llmrec.titles.prompting.title_tokenizer import TitleTokenizer

        self.model, self.tokenizer, self.card, self.prompt, self._name = model, tokenizer, card, prompt, name
        self._stamp: Mapping[str, Any] = {}
        self._decode: Callable[..., list[str]] | None = None  # that of transformers, unless another is set
        self._untaught = False  # a causal model that nobody fine-tuned: a title is but a part of its answers
        affixes = build_affixes(tokenizer, chat=card.chat) if is_causal(model) else None
        self._encoder = TitleTokenizer(tokenizer, affixes)

    @classmethod
    @public
    def load(
        cls,
        model: str | Path,
        *,
        base: str | None = None,
        prompt: str | None = None,
        k: int | None = None,
        max_source_tokens: int | None = None,
        max_target_tokens: int | None = None,
        chat: bool = False,
        device: str | None = None,
        backend: Literal["transformers", "ctranslate2"] = "transformers",
    ) -> Self:
        """Load a model: a folder that ``scripts/gen.py`` or anybody else wrote, an adapter's, a GGUF file, a hub name.

        An edit model's folder works as well (docs/llm.md); it reads no prompt, so only ``device`` and ``backend`` fit.

        Args:
            model: Folder, ``.gguf`` file (unpacked once, docs/llm.md), hub name, or ``hf://OWNER/NAME@REVISION``.
            base: Where an adapter's base model is now; where it was in training if not given.
            prompt: Prompt by name or file; the one that the model was trained with, else ``plain``.
            k: Number of most recent titles (paper §4.3); the model's own, else 1.
            max_source_tokens: Most tokens of a prompt; the model's own, else 256.
            max_target_tokens: Most tokens of a title; the model's own, else 96.
            chat: Put the prompt as a turn of the model's chat template (causal models).
            device: ``cpu``, ``cuda`` …; a GPU where there is one, if not given.
            backend: What `write` decodes with. ``ctranslate2`` is for T5's family, and int8 on a CPU: several times
                faster, and now and then another word.

        Raises:
            ConfigError: the lengths exceed the model's, or its prompt was edited since it was trained.
            MissingExtraError: the packages of the ``generate`` extra are not installed.
            ModelError: it is not there, not readable, or writes no text.
        """
        for package in ("torch", "transformers", "sentencepiece"):
            require(package, "generate")
        from llmrec.hub.pull import named_source, shared_model
        from llmrec.titles.editing.edit_writer import EDIT, opened_writer
        from llmrec.titles.models.card import decide_card
        from llmrec.titles.models.causal import is_causal
        from llmrec.titles.models.gguf import gguf_stamp
        from llmrec.titles.models.gguf_header import is_gguf
        from llmrec.titles.models.lora import open_model
        from llmrec.titles.models.model import check_length, read_model_card
        from llmrec.training.devices import name_processor

        name_processor()
        given = {"k": k, "max_source_tokens": max_source_tokens, "max_target_tokens": max_target_tokens}
        check_at_least_1(given)
        model = str(model) if is_gguf(model) else shared_model(str(model))
        if EDIT.is_at(Path(model)):
            asked = {**given, "base": base, "prompt": prompt, "chat": chat or None}
            return cast("Self", opened_writer(model, [name for name, value in asked.items() if value is not None]))
        if base is not None and Path(model).is_dir() and not (Path(model) / "adapter_config.json").is_file():
            raise ConfigError(f"base: {model} is no adapter, which alone has a base; leave it out")
        card, chosen = decide_card(model, prompt, chat, given)
        loaded, tokenizer = open_model(model, base=base)
        check_length(loaded, card)
        placed = _placed(loaded, device)
        writer = cls(placed, tokenizer, card, chosen, named_source(Path(model)) or Path(model).name)
        writer._stamp = gguf_stamp(model)
        writer._untaught = is_causal(loaded) and read_model_card(model) is None
        if backend == "ctranslate2":
            writer._decode = _translating(model, placed, tokenizer)
        return writer

    def save(self, folder: Path | str) -> None:
        """Write model, tokenizer and card, as a training does; what was an adapter is one with its base.

        Args:
            folder: Where to; new, or one that holds a title model.

        Raises:
            ConfigError: ``folder`` holds something else.
            DiskError: the place cannot be written.
        """
        from llmrec.titles.models.model import CARD, save_model

        place = Path(folder)
        if place.exists() and not (place / CARD).is_file() and (not place.is_dir() or any(place.iterdir())):
            raise ConfigError(f"{place}: exists and holds no model of titles; choose another folder")
        save_model(place, self.model, self.tokenizer, self.card)

    @property
    def history(self) -> int:
        """Number of most recent titled products that it looks at."""
        return self.card.k

    @public
    def write(
        self,
        histories: Sequence[History],
        locale: str | Sequence[str],
        *,
        num_beams: int = 1,
        batch_size: int = 32,
    ) -> Titles:
        """Write the next title of each session.

        Args:
            histories: ``S`` sessions, each the titles (or products) that it looked at, oldest first; may be empty.
            locale: Locale of all sessions, or of each.
            num_beams: Beams; 1 is greedy.
            batch_size: Sessions written at once.

        Returns:
            ``S`` titles, in the sessions' order.

        Raises:
            ConfigError: a number is below 1, or the prompt's wording alone fills the model's length.
            DataError: a history is no list of titles.
        """
        from llmrec.console import progress_bar
        from llmrec.titles.decoding.decode import decode_batch
        from llmrec.titles.training.batches import decoding_batches

        decode = self._decode or partial(decode_batch, self.model, self.tokenizer, answers=self._untaught)

        check_at_least_1({"num_beams": num_beams, "batch_size": batch_size})
        locales, tokens = self._tokens(histories, locale)
        titles = [""] * len(tokens)
        limits: dict[str, Any] = {"max_tokens": self.card.max_target_tokens, "num_beams": num_beams}
        batches = decoding_batches(np.array([len(row) for row in tokens], dtype=np.int64), batch_size)
        with progress_bar() as bar:
            task = bar.add_task("write titles", total=len(tokens), note="")
            for rows in batches:
                written = decode([tokens[row] for row in rows], **limits)
                for row, title in zip(rows.tolist(), written, strict=True):
                    titles[row] = title
                bar.advance(task, len(rows))
        made_by = {"model": self._name, "settings": {**asdict(self.card), "num_beams": num_beams}, **self._stamp}
        return Titles(titles, locales, made_by)

    @public
    def stream(self, history: History, locale: str) -> Iterator[str]:
        """Write one title piece by piece, greedily; the pieces joined are what `write` gives.

        Args:
            history: Titles (or products) that the session looked at, oldest first.
            locale: Its locale.

        Returns:
            The pieces, as they are written.

        Raises:
            ConfigError: as `write`.
            DataError: as `write`.
        """
        _, (tokens,) = self._tokens([history], locale)
        return self._pieces(tokens)

    def _pieces(self, tokens: Sequence[int]) -> Iterator[str]:
        from transformers import TextIteratorStreamer

        from llmrec.titles.decoding.decode import decode_batch

        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        limits: dict[str, Any] = {"max_tokens": self.card.max_target_tokens, "num_beams": 1, "streamer": streamer}
        with ThreadPoolExecutor(1) as writing:
            done = writing.submit(decode_batch, self.model, self.tokenizer, [tokens], answers=self._untaught, **limits)
            done.add_done_callback(lambda _: streamer.end())  # also where it failed, or the reader would wait
            whole, told = "", ""
            for piece in streamer:
                whole += piece
                title = "" if self._untaught else " ".join(whole.split())
                if title != told:
                    yield title[len(told) :]
                    told = title
            (title,) = done.result()
            if title != told:  # an answer's, which is known at its end
                yield title[len(told) :]

    def _tokens(self, histories: Sequence[History], locale: str | Sequence[str]) -> tuple[list[str], list[list[int]]]:
        """Locale and prompt tokens of each session."""
        from llmrec.titles.prompting.prompt_tokens import encode_prompts

        sessions = self._sessions(histories, locale, self.card.k)
        tokens = encode_prompts(self.prompt, self._encoder, sessions, self.card.max_source_tokens)[1]
        return [shop for shop, _ in sessions], tokens

    @staticmethod
    def _sessions(
        histories: Sequence[History], locale: str | Sequence[str], k: int
    ) -> list[tuple[str, list[Mapping[str, str]]]]:
        """Locale and at most ``k`` most recent titled products of each session.

        Raises:
            DataError: a history is no list of titles, or the locales are not as many.
        """
        if isinstance(histories, str):
            raise DataError(f"histories: a list of lists of titles is wanted; for one session write [[{histories!r}]]")
        table = hasattr(histories, "columns") or hasattr(histories, "column_names")
        if not isinstance(histories, Iterable) or isinstance(histories, bytes | Mapping | Set) or table:
            raise DataError(f"histories: a list of lists of titles is wanted; got {shown(histories)}")
        products = [_products(history, row) for row, history in enumerate(_plain(histories))]
        locales = [locale] * len(products) if isinstance(locale, str) else list(locale)
        if len(locales) != len(products):
            raise DataError(f"locale: {len(locales):,} for {len(products):,} histories; give one each, or one for all")
        return [(shop, titled[-k:]) for shop, titled in zip(locales, products, strict=True)]


def _plain(values: Any) -> Any:
    """Values of an Arrow or NumPy array or a column as Python's own; others as they are."""
    plain = getattr(values, "to_pylist", getattr(values, "tolist", None))
    return plain() if callable(plain) else values


def _products(history: Any, row: int) -> list[Mapping[str, str]]:
    """Products with a title, of titles or products."""
    history = _plain(history)
    if not isinstance(history, Sequence) or isinstance(history, str | bytes):
        raise DataError(f"histories, row {row + 1}: a session is a list of titles; got {shown(history)}")
    products = [{"title": one} if isinstance(one, str) else one for one in history]
    for one in products:
        if not isinstance(one, Mapping) or "title" not in one or not isinstance(one["title"], str | None):
            raise DataError(
                f"histories, row {row + 1}: a product is a title, or a mapping with 'title'; got {shown(one)}"
            )
    return [one for one in products if (one.get("title") or "").strip()]


def check_at_least_1(given: Mapping[str, int | None]) -> None:
    """Refuse a number below 1; None is none given.

    Raises:
        ConfigError: names the argument.
    """
    for argument, value in given.items():
        if value is not None and value < 1:
            raise ConfigError(f"{argument} must be at least 1; got {value}")


def _translating(name: str, model: Any, tokenizer: Any) -> Callable[..., list[str]]:
    """What decodes with CTranslate2 in a model's place."""
    import torch

    from llmrec.titles.decoding.ctranslate import decoding_in_its_place, translator_of

    translator = translator_of(name, model, tokenizer, str(model.device), torch.get_num_threads())
    return decoding_in_its_place(translator, model, tokenizer)


def _placed(model: Any, device: str | None) -> Any:
    """A model that writes, where it is asked to be.

    Raises:
        ConfigError: the device cannot be used.
    """
    import torch

    try:
        return model.eval().to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    except (RuntimeError, AssertionError) as error:  # torch's, for a device that is not there or no device
        raise ConfigError(
            f"device {shown(device)} cannot be used; give cpu, cuda or cuda:0, or leave it out"
        ) from error
