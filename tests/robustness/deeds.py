"""Commands that write something: what is there before, what they do, and how a reader looks at what they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.robustness import readers
from tests.robustness import shop as shops
from tests.robustness.forks import command
from tests.robustness.shop import Shop

__all__ = ["DEEDS", "NEEDED", "Deed"]

NEEDED: Final = ("store", "files", "runs", "results", "index-exact", "selector", "recipe")  # of the shop

Act = Callable[[Path, Shop], object]


@dataclass(frozen=True)
class Deed:
    """A command that writes.

    Attributes:
        name: What the table calls it.
        outputs: What it writes, below the folder of the trial.
        act: Runs it there.
        look: Reads what is there by the commands that do; the same whenever it is whole and the same.
        old: Makes the output that was there before, another than the new one; None where it cannot be.
        given: Makes what must be there in any case.
    """

    name: str
    outputs: tuple[str, ...]
    act: Act
    look: Callable[[Path, Shop], Any]
    old: Act | None = None
    given: Act = lambda folder, shop: None

    def prepare(self, folder: Path, shop: Shop, old: bool) -> None:
        """Make what is there before the command runs."""
        self.given(folder, shop)
        if old and self.old is not None:
            self.old(folder, shop)


def _rank(*words: object) -> Act:
    def act(folder: Path, shop: Shop) -> object:
        store = shop / "store"
        files = ("--train", store / "sessions_development.parquet")
        made = [folder / one[1:] if str(one).startswith("@") else one for one in map(str, words)]
        ask = ("--sessions", store / "sessions_validation.parquet", "--k", 10) if "--out" in made else ()
        return command("rank", *made[:1], *files, *ask, *made[1:])

    return act


def _update(folder: Path, shop: Shop) -> object:
    later = shop / "store/sessions_validation.parquet"
    return command("update", folder / "before", "--train", later, "--out", folder / "kept", "--date", "2100-01-01")


def _run(folder: Path, shop: Shop) -> Any:
    """A run by what scores it: the record beside it has to fit."""
    store = shop / "store"
    command("evaluate", folder / "run.parquet", "--targets", store / "sessions_validation.parquet", "--samples", 20)
    from llmrec.evaluation.runs import read_run

    made = read_run(folder / "run.parquet").provenance
    return [readers.lists_of(folder / "run.parquet"), made.get("ranker"), made.get("method")]


def _kept(folder: Path, shop: Shop) -> Any:
    out = folder.parent / "asked"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    return readers.loaded("covisit")(folder / "kept", out, shop)


def _import(**changes: object) -> Act:
    def act(folder: Path, shop: Shop) -> object:
        flags = [word for name, value in changes.items() for word in (f"--{name}", value)]
        return command("data", "import", shop / "raw", folder / "store", *flags)

    return act


def _store(folder: Path, shop: Shop) -> Any:
    out = folder.parent / "asked"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    lists = readers.last_title(folder / "store", out, shop)
    return [lists, *(readers.rows_of(one) for one in sorted((folder / "store").glob("*.parquet")))]


def _holdout(seed: int) -> Act:
    return lambda folder, shop: command(
        "data", "holdout", shop / "files/sessions.parquet", folder / "held", "--seed", seed, "--share", 0.2
    )


def _held(folder: Path, shop: Shop) -> Any:
    return [readers.rows_of(folder / "held" / f"{one}.parquet") for one in ("train", "sessions", "targets")]


def _embed(*words: object) -> Act:
    return lambda folder, shop: command(
        "embed", "products", shop / "store/products.parquet", "--out", folder / "vectors", *words
    )


def _searched(folder: Path, shop: Shop) -> Any:
    out = folder.parent / "asked"
    queries = ("Brand3 Lampe, 2 cm", "more 2")
    found = [readers.similar(one)(folder / "vectors", out, shop) for one in queries]
    from llmrec.text.encoders.embeddings_folder import open_embeddings

    return [found, open_embeddings(folder / "vectors").vectors.shape[1]]


def _embeddings(folder: Path, shop: Shop) -> None:
    shutil.copytree(shop / "index-exact", folder / "vectors")


def _index(*words: object) -> Act:
    def act(folder: Path, shop: Shop) -> object:
        shops.structured()
        return command("index", folder / "vectors", *words)

    return act


def _changed(flag: str, first: int, last: int) -> Act:
    def act(folder: Path, shop: Shop) -> object:
        shops.structured()
        more = shop / f"more-{flag}-{first}.csv"
        lines = (shop / "raw/products_train.csv").read_text(encoding="utf-8").splitlines()
        rows = [line.replace("Brand", "more ", 1) for line in lines[1 + first : 1 + last]]
        rows = rows if flag == "remove" else [f"N{row[1:]}" for row in rows]
        more.write_text("\n".join([lines[0], *rows]) + "\n", encoding="utf-8")
        return command("index", folder / "vectors", f"--{flag}", more)

    return act


def _select(*words: object) -> Act:
    return lambda folder, shop: command(
        "select", "--load", shop / "selector", "--data", shop / "store", "--split", "validation",
        "--out", folder / "run.parquet", *words,
    )  # fmt: skip


def _tune(folder: Path, shop: Shop) -> object:
    return command(*shops.tune_words(shop, folder))


def _recipe(folder: Path, shop: Shop) -> Any:
    """A search that goes on, or is shared, draws others: what counts is that it has its trials and ranks."""
    import yaml

    recipe = yaml.safe_load((folder / "tuned.yaml").read_text(encoding="utf-8"))
    store = shop / "store"
    command("rank", "covisit", "--recipe", folder / "tuned.yaml", "--train", store / "sessions_development.parquet",
            "--save", folder.parent / "tuned")  # fmt: skip
    return [sorted(recipe["settings"]), recipe["scores"]["trials"] >= shops.TRIALS]


def _evaluate(name: str) -> Act:
    return lambda folder, shop: command(
        "evaluate", shop / f"runs/{name}.parquet", "--targets", shop / "store/sessions_validation.parquet",
        "--json", folder / "result.json", "--samples", 20,
    )  # fmt: skip


def _result(folder: Path, shop: Shop) -> Any:
    return [command("results", folder / "result.json"), readers.record_of(folder / "result.json")["overall"]]


def _results(*names: str) -> Act:
    return lambda folder, shop: command(
        "results", *(shop / f"results/{one}.json" for one in names), "--out", folder / "table.md"
    )


def _table(folder: Path, shop: Shop) -> Any:
    return (folder / "table.md").read_text(encoding="utf-8")


def _generate(folder: Path, shop: Shop) -> object:
    tiny = ("--tiny-width", 32, "--tiny-layers", 1, "--tiny-vocab", 400, "--max-steps", 2, "--batch-size", 4)
    words = ("--max-target-tokens", 8, "--max-source-tokens", 32, "--log-to", "none", "--limit", 4, "--resume")
    return command("generate", "--data", shop / "store", "--base-model", "tiny", "--k", 1,
                  "--output-dir", folder / "work", *tiny, *words)  # fmt: skip


def _generated(folder: Path, shop: Shop) -> Any:
    return (
        readers.lists_of(folder / "work/titles_validation.parquet")
        if (folder / "work/titles_validation.parquet").exists()
        else "absent"
    )


def _train_encoder(folder: Path, shop: Shop) -> object:
    learn, products = shop / "store/sessions_development.parquet", shop / "store/products.parquet"
    small = shops.sets("dim=8", "vocabulary=400", "max_epochs=1")
    return command(
        "embed", "train", "--train", learn, "--products", products, "--out", folder / "encoder", *small, "--resume"
    )


def _encoder(folder: Path, shop: Shop) -> Any:
    from llmrec.text.encoders.registry import load_saved_encoder

    return load_saved_encoder(folder / "encoder").fingerprint()


def _deeds() -> Iterator[Deed]:
    run = ("run.parquet", "run.json")
    other = _rank("popularity", "--out", "@run.parquet")
    yield Deed("rank", run, _rank("covisit", "--out", "@run.parquet"), _run, other)
    yield Deed("rank of another", run, other, _run)
    other = _rank("covisit", "--save", "@kept", "--set", "neighbours=2")
    yield Deed("rank save", ("kept",), _rank("covisit", "--save", "@kept"), _kept, other)
    yield Deed("rank save of another", ("kept",), other, _kept)
    other = _rank("covisit", "--save", "@kept", "--set", "neighbours=2")
    yield Deed("update", ("kept",), _update, _kept, other, given=_rank("covisit", "--save", "@before"))
    yield Deed("import", ("store",), _import(), _store, _import(seed=3))
    yield Deed("import of another", ("store",), _import(seed=3), _store)
    yield Deed("holdout", ("held",), _holdout(0), _held, _holdout(3))
    yield Deed("holdout of another", ("held",), _holdout(3), _held)
    yield Deed("embed", ("vectors",), _embed("--dim", 16), _searched, _embed("--dim", 8))
    yield Deed("embed of another", ("vectors",), _embed("--dim", 8), _searched)
    yield Deed("index", ("vectors",), _index("--kind", "hnsw"), _searched, given=_embeddings)
    yield Deed("index add", ("vectors",), _changed("add", 0, 20), _searched, given=_embeddings)
    yield Deed("index add of another", ("vectors",), _changed("add", 60, 80), _searched, given=_embeddings)
    yield Deed("index remove", ("vectors",), _changed("remove", 0, 20), _searched, given=_embeddings)
    yield Deed("select", run, _select(), _run, other_run)
    yield Deed("tune", ("tuned.yaml",), _tune, _recipe)
    yield Deed("evaluate", ("result.json",), _evaluate("covisit"), _result, _evaluate("popularity"))
    yield Deed("evaluate of another", ("result.json",), _evaluate("popularity"), _result)
    made = _results("covisit", "popularity")
    yield Deed("results", ("table.md",), made, _table, _results("titles"))
    yield Deed("gen", ("work",), _generate, _generated)
    yield Deed("embed train", ("encoder",), _train_encoder, _encoder)


def other_run(folder: Path, shop: Shop) -> object:
    """A run of titles in the place of the selector's."""
    return command("last-title", shop / "store", "--out", folder / "run.parquet")


DEEDS: Final[Mapping[str, Deed]] = {deed.name: deed for deed in _deeds()}
