"""The structure that every file relies on: who may import whom, and that test targets stay out of training."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "llmrec"
# Each name may import those before it, and itself.
LAYERS = [
    {"__init__"},
    {"errors"},
    {"schema"},
    {"files", "console"},
    {"config"},
    {"flags"},
    {"data", "evaluation"},
    {"prompts", "training", "metrics"},
    {"embeddings"},
    {"retrieval"},
    {"rankers"},
    {"generation"},  # the title selector reads rankers
    {"statistics"},
    {"reproduction"},
    {"app"},
    {"cli"},
    {"benchmarks"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    parts = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "llmrec":
            names = [node.module] if "." in node.module else [f"llmrec.{alias.name}" for alias in node.names]
            parts |= {name.split(".")[1] for name in names if name != "llmrec.__version__"}
    return parts


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_to_lower_layers_only(path: Path) -> None:
    own = part_of(path)
    for other in imported_parts(path):
        assert other == own or LEVEL[other] < LEVEL[own] or {own, other} == {"data", "evaluation"}, (
            f"{own} imports {other}"
        )


def test_data_and_evaluation_do_not_import_each_other_both_ways() -> None:
    reads = {own: set() for own in ("data", "evaluation")}
    for path in FILES:
        if part_of(path) in reads:
            reads[part_of(path)] |= imported_parts(path)
    assert not ("evaluation" in reads["data"] and "data" in reads["evaluation"])


@pytest.mark.parametrize(
    "module", ["llmrec", "llmrec.cli", "llmrec.config", "llmrec.generation", "llmrec.rankers", "llmrec.rankers.covisit"]
)
def test_import_stays_light(module: str) -> None:
    code = f"import sys, {module}; print({{'torch', 'transformers', 'datasets', 'faiss', 'openai'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_training_never_names_test_targets() -> None:
    training = [
        PACKAGE / "generation" / name
        for name in ("train.py", "tokenizer.py", "prompt_sessions.py", "recent_products.py")
    ]
    training += [path for path in FILES if part_of(path) in ("rankers", "training")]
    for path in training:
        names = {
            node.id for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Name)
        }
        assert "TestTargets" not in names, path.name


def test_library_never_prints_asserts_or_evaluates() -> None:
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not isinstance(node, ast.Assert), f"{path.name}:{node.lineno}"
            called = getattr(node, "func", None)
            assert getattr(called, "id", "") not in {"print", "eval", "exec"}, f"{path.name}:{node.lineno}"


@pytest.mark.parametrize(
    ("package", "only"),
    [
        ("recbole", "rankers/recbole.py"),
        ("pyspark", "rankers/engine.py"),
        ("lightgbm", "rankers/fusion/trees.py"),
        ("faiss", "retrieval/index.py"),
        ("sentence_transformers", "embeddings/sentence.py"),
        ("model2vec", "embeddings/pretrained_static.py"),
        ("onnxruntime", "embeddings/onnx.py"),
        ("openai", "generation/compare/server.py"),
        ("ctranslate2", "generation/ctranslate.py"),
        ("deepspeed", "generation/plan.py"),
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
            assert str(path.relative_to(PACKAGE)) == only
