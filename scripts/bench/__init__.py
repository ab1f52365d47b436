"""Speed and memory of the main steps, each beside the plain way of doing it, measured in the same run."""

import shutil

from bench.api import api, startup
from bench.cluster import cluster
from bench.counting import counting
from bench.data import import_, synth
from bench.deciding import deciding
from bench.decoding import constrain, decode
from bench.embeddings import embed
from bench.events import events
from bench.fusion import fusion
from bench.generation import generate, prompts
from bench.gpu import gpu
from bench.measure import RUNS, app
from bench.neural import neural
from bench.peers import peers
from bench.recipes import recipes
from bench.retrieval import retrieval
from bench.serving import serve
from bench.session_recall import recall
from bench.statistics import stats
from bench.titles_speed import titles
from bench.training_memory import memory
from bench.trimming import train, trim
from bench.updating import update
from bench.work_memory import work_memory

__all__ = [
    "app",
    "cluster",
    "constrain",
    "deciding",
    "decode",
    "embed",
    "gpu",
    "peers",
    "recall",
    "recipes",
    "serve",
    "titles",
    "train",
    "trim",
    "update",
]


@app.command("all")
def all_() -> None:
    """Run every benchmark; `generate`, `decode` and `constrain` need the model that `make demo` leaves."""
    synth()
    import_()
    events()
    prompts()
    generate()
    decode()
    constrain()
    trim()
    train()
    memory()
    work_memory()
    counting()
    neural()
    retrieval()
    embed()
    fusion()
    serve()
    stats()
    api()
    startup()


@app.command()
def clean() -> None:
    """Remove the data that the benchmarks made."""
    shutil.rmtree(RUNS, ignore_errors=True)
