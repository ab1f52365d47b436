"""Speed and memory of the main steps, each beside the plain way of doing it, measured in the same run."""

import shutil

from llmrec.benchmarks.counting import counting
from llmrec.benchmarks.data import import_, synth
from llmrec.benchmarks.decoding import constrain, decode
from llmrec.benchmarks.embeddings import embed
from llmrec.benchmarks.fusion import fusion
from llmrec.benchmarks.generation import generate, prompts
from llmrec.benchmarks.measure import RUNS, app
from llmrec.benchmarks.neural import neural
from llmrec.benchmarks.retrieval import retrieval
from llmrec.benchmarks.session_recall import recall
from llmrec.benchmarks.statistics import stats
from llmrec.benchmarks.trimming import train, trim

__all__ = ["app", "constrain", "decode", "embed", "recall", "train", "trim"]


@app.command("all")
def all_() -> None:
    """Run every benchmark; `generate`, `decode` and `constrain` need the model that `make demo` leaves."""
    synth()
    import_()
    prompts()
    generate()
    decode()
    constrain()
    trim()
    train()
    counting()
    neural()
    retrieval()
    embed()
    fusion()
    stats()


@app.command()
def clean() -> None:
    """Remove the data that the benchmarks made."""
    shutil.rmtree(RUNS, ignore_errors=True)
