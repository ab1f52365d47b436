"""Multilingual shopping sessions in; the next product and its title out (the Amazon-M2 paper, and past it).

::

    import llmrec

    store = llmrec.open_store("stores/m2")
    ranker = llmrec.fit("covisit", store.training())
    lists = ranker.rank(store.sessions("validation"), k=100)
    llmrec.evaluate(lists, store.targets("validation"))

What stands here is loaded when it is used: the import itself takes milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from llmrec.data.store import Store as Store
    from llmrec.data.store import open_store as open_store
    from llmrec.errors import LlmrecError as LlmrecError
    from llmrec.evaluation.evaluate import evaluate as evaluate
    from llmrec.evaluation.metrics import register_metric as register_metric
    from llmrec.evaluation.results import Result as Result
    from llmrec.hub.pull import from_pretrained as from_pretrained
    from llmrec.hub.push import push_to_hub as push_to_hub
    from llmrec.rankers.base import Ranker as Ranker
    from llmrec.rankers.fitting import fit as fit
    from llmrec.rankers.fitting import load_ranker as load_ranker
    from llmrec.rankers.rankings import Rankings as Rankings
    from llmrec.rankers.registry import register_candidate_source as register_candidate_source
    from llmrec.rankers.registry import register_ranker as register_ranker
    from llmrec.rankers.session_data import sessions as sessions
    from llmrec.rankers.sessions import Sessions as Sessions
    from llmrec.reranking.rerank import rerank as rerank
    from llmrec.text.encoders.registry import register_encoder as register_encoder
    from llmrec.text.search.similar import SimilarProducts as SimilarProducts
    from llmrec.titles.title_writer import Titles as Titles
    from llmrec.titles.title_writer import TitleWriter as TitleWriter
    from llmrec.updating.ranker_update import update as update

__version__ = "0.1.0"

_HOMES: Final = {
    "LlmrecError": "errors",
    "Ranker": "rankers.base",
    "Rankings": "rankers.rankings",
    "Result": "evaluation.results",
    "Sessions": "rankers.sessions",
    "SimilarProducts": "text.search.similar",
    "Store": "data.store",
    "TitleWriter": "titles.title_writer",
    "Titles": "titles.title_writer",
    "evaluate": "evaluation.evaluate",
    "fit": "rankers.fitting",
    "from_pretrained": "hub.pull",
    "load_ranker": "rankers.fitting",
    "open_store": "data.store",
    "push_to_hub": "hub.push",
    "register_candidate_source": "rankers.registry",
    "register_encoder": "text.encoders.registry",
    "register_metric": "evaluation.metrics",
    "register_ranker": "rankers.registry",
    "rerank": "reranking.rerank",
    "sessions": "rankers.session_data",
    "update": "updating.ranker_update",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llmrec' has no attribute '{name}'")
    home, extras = _HOMES[name], {"text": "search", "titles": "generate", "reranking": "generate"}
    needing = import_module("llmrec.errors").needing
    with needing(extras.get(home.partition(".")[0], "")):
        found = globals()[name] = getattr(import_module(f"llmrec.{home}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
