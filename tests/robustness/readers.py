"""What reads a file: real commands, and what their answer is, without what differs between two runs."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.robustness import shop as shops
from tests.robustness.forks import Refused, command
from tests.robustness.shop import Shop

Reader = Callable[[Path, Path, Shop], Any]
VOLATILE: Final = frozenset(
    [
        "seconds",
        "command",
        "commands",
        "git_commit",
        "commit",
        "finished",
        "time",
        "created",
        "device",
        "machine",
        "versions",
        "started",
        "host",
        "checksum",
    ]
)


def provenance_of(run: Path) -> Any:
    """What the record beside a run says of how it was made."""
    return record_of(run.with_suffix(".json"))["provenance"]


def rows_of(path: Path) -> Any:
    """A Parquet file as text, by column."""
    import pyarrow.parquet as pq

    return digest(pq.read_table(path).to_pydict())


def lists_of(path: Path) -> Any:
    """A run's locales and predictions."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path).read()
    return {"locale": table["locale"].to_pylist(), "lists": table["next_item_prediction"].to_pylist()}


def digest(value: Any) -> str:
    """A short name of a large value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:16]


def lasting(value: Any) -> Any:
    """JSON without what differs between two runs of the same command."""
    if isinstance(value, dict):
        return {key: lasting(one) for key, one in value.items() if key not in VOLATILE}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def record_of(path: Path) -> Any:
    """A JSON file, without what differs between two runs."""
    return lasting(json.loads(path.read_text(encoding="utf-8")))


def quick_yaml() -> None:
    """Have the recipes of the paper's tables read by libyaml: they are not what is attacked."""
    import yaml

    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]


def last_title(store: Path, out: Path, shop: Shop) -> Any:
    """A store, by the baseline of Task 3."""
    command("last-title", store, "--split", "test_task3_phase1", "--out", out / "last.parquet")
    return [provenance_of(out / "last.parquet").get("data_fingerprint"), lists_of(out / "last.parquet")]


def reproduced(store: Path, out: Path, shop: Shop) -> Any:
    """A store, by what the paper's Table 1 counts."""
    quick_yaml()
    command("reproduce", "table1", "--data", store, "--out", out / "reproduced")
    return [record_of(one) for one in out.glob("reproduced/records/*/*")]


def rank_store(store: Path, out: Path, shop: Shop) -> Any:
    """A store's sessions and products, ranked."""
    learn, ask = store / "sessions_development.parquet", store / "sessions_validation.parquet"
    command("rank", "covisit", "--train", learn, "--sessions", ask, "--products", store / "products.parquet",
            "--k", 10, "--out", out / "run.parquet")  # fmt: skip
    return lists_of(out / "run.parquet")


def evaluate_store(store: Path, out: Path, shop: Shop) -> Any:
    """A store's targets and products, scored by."""
    command("evaluate", shop / "runs/test_titles.parquet", "--targets", store / "targets_test_task3_phase1.parquet",
            "--json", out / "result.json", "--samples", 20)  # fmt: skip
    return record_of(out / "result.json")["overall"]


def similar(*asked: object) -> Reader:
    """An embeddings folder, by searching it."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        shops.structured()
        said = json.loads(command("similar", folder, *asked, "--json", "--k", 7))
        hits = said["result"] if isinstance(said, dict) else said  # the list alone, of versions before
        return [(hit["locale"], hit["id"], hit["title"], round(hit["score"], 4)) for hit in hits]

    return read


def ground(folder: Path, out: Path, shop: Shop) -> Any:
    """An embeddings folder, by titles grounded in it."""
    shops.structured()
    command("ground", shop / "runs/titles.parquet", "--index", folder, "--out", out / "grounded.parquet", "--k", 5)
    return lists_of(out / "grounded.parquet")


def align(folder: Path, out: Path, shop: Shop) -> Any:
    """An embeddings folder, by how its locales agree."""
    said = command("evaluate-alignment", folder, "--json", out / "alignment.json", "--queries", 20)
    pairs, _, _ = said.partition("### All pairs")  # the rest names the folder
    return [pairs, record_of(out / "alignment.json")]


def text_knn(folder: Path, out: Path, shop: Shop) -> Any:
    """An embeddings folder, by a ranker that takes its vectors."""
    store = shop / "store"
    command("rank", "text_knn", "--train", store / "sessions_development.parquet", "--sessions",
            store / "sessions_validation.parquet", "--products", store / "products.parquet", "--set", f"text={folder}",
            "--k", 10, "--out", out / "run.parquet")  # fmt: skip
    return lists_of(out / "run.parquet")


def loaded(name: str) -> Reader:
    """A kept ranker, by ranking with it."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        ask = shop / "files/bare.parquet"
        command("rank", name, "--load", folder, "--sessions", ask, "--k", 10, "--out", out / "run.parquet")
        return lists_of(out / "run.parquet")

    return read


def explained(folder: Path, out: Path, shop: Shop) -> Any:
    """A fused ranker, by explaining its lists."""
    command("explain", folder, "--sessions", shop / "files/bare.parquet", "--out", out / "why.json", "--limit", 2)
    return record_of(out / "why.json")


def selected(folder: Path, out: Path, shop: Shop) -> Any:
    """A kept selector, by choosing with it."""
    command("select", "--load", folder, "--data", shop / "store", "--split", "validation", "--out", out / "run.parquet")
    return lists_of(out / "run.parquet")


def encoded(folder: Path, out: Path, shop: Shop) -> Any:
    """An encoder, by the vectors that it makes."""
    import numpy as np

    products = shop / "store/products.parquet"
    command("embed", "products", products, "--encoder", folder, "--out", out / "vectors", "--no-index")
    vectors = np.load(out / "vectors" / "vectors.npy")
    return [digest(np.round(vectors, 4).tolist()), vectors.shape, bool(np.isfinite(vectors).all())]


def tuned(folder: Path, out: Path, shop: Shop) -> Any:
    """A search's trials, by the command that made them: it finds them done and writes its recipe."""
    import yaml

    command(*shops.tune_words(shop, folder))
    recipe = yaml.safe_load((folder / "tuned.yaml").read_text(encoding="utf-8"))
    scores = recipe["scores"]  # of equal ones the first counts: which that is may change where a lost one is made again
    return [sorted(recipe["settings"]), scores["validation mrr@100"], scores["trials"]]


def resumed(folder: Path, out: Path, shop: Shop) -> Any:
    """Records of measurements that a run goes on from."""
    quick_yaml()
    try:
        return command("reproduce", "table1", "--data", shop / "store", "--out", folder, "--resume")
    except RuntimeError as error:  # status 1: a row failed, and a line says which file cannot be read
        raise Refused(f"error: {' '.join(str(error).split())}") from error


def held_against(folder: Path, out: Path, shop: Shop) -> Any:
    """Records of measurements, held against."""
    quick_yaml()
    return command("reproduce", "table1", "--recorded", folder / "records")


def evaluated(name: str) -> Reader:
    """A run, scored."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        targets = shop / "store/sessions_validation.parquet"
        command("evaluate", folder / f"{name}.parquet", "--targets", targets, "--json", out / "result.json",
                "--by", "locale", "--samples", 20)  # fmt: skip
        return [record_of(out / "result.json")["overall"], record_of(out / "result.json").get("partial")]

    return read


def blended(folder: Path, out: Path, shop: Shop) -> Any:
    """A run of lists, blended."""
    runs = (folder / "covisit.parquet", shop / "runs/popularity.parquet")
    command("blend", *runs, "--out", out / "blend.parquet", "--k", 10)
    return lists_of(out / "blend.parquet")


def grounded(folder: Path, out: Path, shop: Shop) -> Any:
    """A run of titles, grounded."""
    command(
        "ground", folder / "titles.parquet", "--index", shop / "index-exact", "--out", out / "run.parquet", "--k", 5
    )
    return lists_of(out / "run.parquet")


def chosen_among(name: str) -> Reader:
    """A run, as candidates of a kept selector."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        command("select", "--load", shop / "selector", "--data", shop / "store", "--split", "validation",
                "--candidates", folder / f"{name}.parquet", "--out", out / "run.parquet")  # fmt: skip
        return lists_of(out / "run.parquet")

    return read


def compared(folder: Path, out: Path, shop: Shop) -> Any:
    """A run, as the one that another is compared with."""
    command("evaluate", shop / "runs/titles.parquet", "--compare", folder / "titles.parquet", "--targets",
            shop / "store/sessions_validation.parquet", "--samples", 20, "--json", out / "result.json")  # fmt: skip
    return record_of(out / "result.json").get("comparison")


def results(folder: Path, out: Path, shop: Shop) -> Any:
    """Results, by the table that sets them beside each other."""
    return command("results", folder / "covisit.json", f"POP={folder / 'popularity.json'}", "--out", out / "table.md")


def with_recipe(folder: Path, out: Path, shop: Shop) -> Any:
    """A recipe, by ranking with it."""
    store = shop / "store"
    command("rank", "covisit", "--recipe", folder / "own.yaml", "--train", store / "sessions_development.parquet",
            "--sessions", store / "sessions_validation.parquet", "--k", 10, "--out", out / "run.parquet")  # fmt: skip
    return lists_of(out / "run.parquet")


def with_settings(folder: Path, out: Path, shop: Shop) -> Any:
    """A recipe's settings, each on the command line."""
    import yaml

    try:
        given = yaml.safe_load((folder / "own.yaml").read_text(encoding="utf-8"))["settings"].items()
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Refused("error: not the settings of a recipe") from None
    dumped = [
        f"{key}={yaml.safe_dump(value, default_flow_style=True, width=10**6).splitlines()[0]}" for key, value in given
    ]
    store = shop / "store"
    command("rank", "covisit", *shops.sets(*dumped), "--train", store / "sessions_development.parquet",
            "--sessions", store / "sessions_validation.parquet", "--k", 10, "--out", out / "run.parquet")  # fmt: skip
    return lists_of(out / "run.parquet")


def sessions(form: str) -> Reader:
    """Sessions of a user's, learnt from and ranked for."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        learn, ask = folder / f"sessions.{form}", folder / f"bare.{form}"
        command("rank", "covisit", "--train", learn, "--sessions", ask, "--k", 10, "--out", out / "run.parquet")
        return lists_of(out / "run.parquet")

    return read


def logged(folder: Path, out: Path, shop: Shop) -> Any:
    """A log of a user's, made a store of."""
    files = [folder / f"log.{form}" for form in ("csv", "jsonl", "parquet")]
    command("data", "events", *files, out / "store", "--products", folder / "products.csv", "--test-days", 3)
    return {file.name: rows_of(file) for file in sorted((out / "store").glob("*.parquet"))}


def held_out(form: str) -> Reader:
    """Sessions of a user's, held out."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        command("data", "holdout", folder / f"sessions.{form}", out / "held", "--share", 0.2)
        return [rows_of(out / "held" / f"{one}.parquet") for one in ("train", "sessions", "targets")]

    return read


def picked(form: str) -> Reader:
    """Sessions of a user's, of one locale."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        command("data", "pick", folder / f"sessions.{form}", out / "picked.parquet", "--locale", "DE")
        return rows_of(out / "picked.parquet")

    return read


def embedded(form: str) -> Reader:
    """Products of a user's, embedded."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        products = folder / f"products.{form}"
        command("embed", "products", products, "--out", out / "vectors", "--dim", 8, "--no-index")
        return rows_of(out / "vectors" / "products.parquet")

    return read


def sold(form: str) -> Reader:
    """Products of a user's, as what lists may hold."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        store = shop / "store"
        command("rank", "popularity", "--train", store / "sessions_development.parquet", "--sessions",
                store / "sessions_validation.parquet", "--products", folder / f"products.{form}", "--k", 10,
                "--out", out / "run.parquet")  # fmt: skip
        return lists_of(out / "run.parquet")

    return read


def targets(form: str) -> Reader:
    """Targets of a user's, scored by."""

    def read(folder: Path, out: Path, shop: Shop) -> Any:
        command("evaluate", shop / "runs/bare.parquet", "--targets", folder / f"targets.{form}",
                "--json", out / "result.json", "--samples", 20)  # fmt: skip
        return record_of(out / "result.json")["overall"]

    return read


def imported(folder: Path, out: Path, shop: Shop) -> Any:
    """Raw files, imported."""
    command("data", "import", folder, out / "store")
    tables = sorted((out / "store").glob("*.parquet"))
    return [*((one.name, rows_of(one)) for one in tables), record_of(out / "store/manifest.json")["fingerprint"]]


def rendered(folder: Path, out: Path, shop: Shop) -> Any:
    """A prompt, rendered for sessions."""
    words = ("prompts", "render", folder / "own.yaml", "--data", shop / "store")
    return [command(*words, "--session", row, "--split", "development") for row in first_rows(shop, 3)]


def first_rows(shop: Shop, number: int) -> list[int]:
    """Rows of a store's first sessions in their source file."""
    import pyarrow.parquet as pq

    ids = pq.read_table(shop / "store/sessions_development.parquet", columns=["session_id"])["session_id"]
    return [int(one) for one in ids.to_pylist()[:number]]


def scored_under(folder: Path, out: Path, shop: Shop) -> Any:
    """A file of languages, by scores of titles under it."""
    os.environ["LLMREC_LANGUAGES"] = str(folder / "own.yaml")
    return evaluated("titles")(shop / "runs", out, shop)


def rendered_under(folder: Path, out: Path, shop: Shop) -> Any:
    """A file of languages, by a prompt under it."""
    os.environ["LLMREC_LANGUAGES"] = str(folder / "own.yaml")
    row = first_rows(shop, 1)[0]
    return command(
        "prompts", "render", "instruct", "--data", shop / "store", "--session", row, "--split", "development"
    )


def written(folder: Path, out: Path, shop: Shop) -> Any:
    """A model that writes titles, by writing some."""
    command("generate", "--data", shop / "store", "--model", folder, "--limit", 3, "--output-dir", out / "work",
           "--log-to", "none", "--out", out / "run.parquet")  # fmt: skip
    return lists_of(out / "run.parquet")


def embedded_again(folder: Path, out: Path, shop: Shop) -> Any:
    """Embeddings of a killed command, gone on with."""
    import numpy as np

    shops.embed_again(shop, folder)
    return [
        digest(np.round(np.load(folder / "vectors/vectors.npy"), 4).tolist()),
        rows_of(folder / "vectors/products.parquet"),
    ]


def chosen_again(folder: Path, out: Path, shop: Shop) -> Any:
    """Chosen titles of a killed command, gone on with."""
    shops.select_again(shop, folder)
    return lists_of(folder / "run.parquet")


def written_again(folder: Path, out: Path, shop: Shop) -> Any:
    """Written titles of a killed command, gone on with."""
    shops.generate_again(shop, folder)
    return lists_of(folder / "work/titles_validation.parquet")


def compared_again(folder: Path, out: Path, shop: Shop) -> Any:
    """A comparison, with the answers that are kept."""
    shops.compare_again(shop, folder)
    cells = record_of(folder / "compared/comparison.json")["cells"]
    return [{key: value for key, value in cell.items() if key not in ("num_new", "cost")} for cell in cells]
