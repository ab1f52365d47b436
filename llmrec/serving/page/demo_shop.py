"""The made-up shop of ``llmrec app --demo``: what is quick is made first, the rest while the page is looked at."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmrec.console import notice
from llmrec.data.store import Store
from llmrec.demo.stages import SPLIT, fitted_ranker, learn_selector, make_store, rank_products
from llmrec.errors import LlmrecError, require
from llmrec.serving.held import Held
from llmrec.serving.loaded import Places

__all__ = ["Shop"]

_FIRST: Final = "covisit"
_SECOND: Final = "fusion"
_SEED: Final = 0


@dataclass
class Shop:
    """A made-up shop in a folder, in which whatever is whole is used again.

    Attributes:
        folder: The folder; that of ``llmrec demo`` will do.
        growing: What is being made, for the page to say; empty where all is there.
    """

    folder: Path
    growing: str = ""

    def planted(self) -> dict[str, Any]:
        """What the page needs for a first view: products, sessions, one ranker; and whatever else is there.

        Raises:
            DiskError: the place cannot be written.
            MissingExtraError: an extra that the demo needs is not installed.
        """
        for package in ("lightgbm", "faiss"):
            require(package, "rank,search")
        notice("a made-up shop: sessions and products of six locales")
        store = make_store(self.folder, "tiny", _SEED)
        fitted_ranker(store, self.folder, _FIRST, _SEED)
        places = self._places(store)
        more = {
            "sessions": (store.path / f"sessions_{SPLIT}.parquet",),
            "runs": self.folder,
            "compare": (self.folder / "models" / _FIRST,),
        }
        return {"ranker": places.ranker, "titles": places.titles, "index": places.index, **more} | {
            "products": store.products
        }

    def grow(self, held: Held) -> None:
        """Make what is not there yet, in a thread of its own, and serve it as soon as it is whole."""
        loop = asyncio.get_running_loop()

        def serve(store: Store) -> None:
            held.places = self._places(store)
            asyncio.run_coroutine_threadsafe(held.load(), loop).result()

        def make() -> None:
            try:
                store = Store.load(self.folder / "store")
                folder = self.folder
                for name, told, step in (
                    ("titles_index", "titles are being indexed", lambda: _index(store, folder / "titles_index")),
                    (
                        f"models/{_SECOND}",
                        "a fused ranker is learning",
                        lambda: fitted_ranker(store, folder, _SECOND, _SEED),
                    ),
                    (
                        "models/selector",
                        "a selector of titles is learning",
                        lambda: learn_selector(store, folder, _SEED),
                    ),
                    ("ranked", "rankers are being scored", lambda: rank_products(store, folder / "ranked", _SEED)),
                ):
                    if not (folder / name).is_dir():
                        self.growing = told
                        notice(f"meanwhile {told}")
                        step()
                        serve(store)
                notice("all of the demo is there")
            except (LlmrecError, OSError, MemoryError, RuntimeError) as error:  # the last where the service ends
                notice(f"the demo stays as it is: {error}")
            finally:
                self.growing = ""

        threading.Thread(target=make, daemon=True, name="demo").start()

    def _places(self, store: Store) -> Places:
        models = self.folder / "models"
        there = {name: path for name in (_FIRST, _SECOND) if (path := models / name).is_dir()}
        index, selector = self.folder / "titles_index", models / "selector"
        return Places(
            ranker=there.get(_SECOND, there.get(_FIRST)),
            titles=str(selector) if selector.is_dir() else None,
            index=index if index.is_dir() else None,
            products=store.products,
        )


def _index(store: Store, folder: Path) -> None:
    from llmrec.text.search.similar import SimilarProducts  # here: --help needs no extra

    SimilarProducts.build(store, folder)
