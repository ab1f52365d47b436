"""Reference pages that are generated: every name of the API, every verb with its flags, every recipe and prompt."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import yaml

import llmrec
from llmrec.cli.flags import EPILOG, VerbCommand
from llmrec.cli.verbs import PANELS
from llmrec.settings import load_recipe, recipe_names

__all__ = ["REFERENCE", "api", "commands", "prompts", "recipes"]

ROOT: Final = Path(__file__).resolve().parents[2]
_PARTS: Final = {  # in the order of the work
    "Data": ("open_store", "Store", "sessions", "Sessions"),
    "Rankers": ("fit", "load_ranker", "rerank", "Ranker", "Rankings"),
    "Scores": ("evaluate", "Result"),
    "Titles": ("TitleWriter", "Titles"),
    "Similar products": ("SimilarProducts",),
    "Of your own": ("register_ranker", "register_candidate_source", "register_encoder", "register_metric"),
}
_KINDS: Final = {
    "ranker": ("Rankers", "`llmrec rank`"),
    "titles": ("Title models", "`llmrec generate`, `scripts/gen.py`"),
    "encoder": ("Encoders", "`llmrec embed train`"),
    "select": ("Title selection", "`llmrec select`"),
}


def api() -> str:
    """``llmrec.__all__``, by what it is for; a name that no part lists goes to the end."""
    placed = {name for names in _PARTS.values() for name in names}
    rest = [name for name in llmrec.__all__ if name not in placed and name not in ("__version__", "LlmrecError")]
    lines = ["# Python", "", "`import llmrec` takes milliseconds; what stands here is loaded when it is used.", ""]
    for part, names in (*_PARTS.items(), *((("More", tuple(rest)),) if rest else ())):
        lines += [f"## {part}", ""]
        for name in names:
            home = getattr(llmrec, name)
            lines += [f"::: {home.__module__}.{home.__qualname__}", "    options:", "      heading_level: 3", ""]
    return "\n".join(lines)


def commands() -> str:
    """Every verb with its help, its example and its flags, as the command line itself has them."""
    lines = ["# Commands", "", f"{EPILOG} See [Output for programs](../command_line.md).", ""]
    for panel, verbs in PANELS.items():
        lines += [f"## {panel}", ""]
        for verb in verbs:
            command: Any = VerbCommand(verb, panel).real()
            lines += [f"### llmrec {verb.words}", "", *_help(command.help), *_flags(command.params), ""]
    return "\n".join(lines)


def _help(text: str) -> Iterable[str]:
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        head, colon, example = paragraph.partition("Example: ")
        yield from ("```bash", " ".join(example.split()), "```", "") if colon and not head else (paragraph, "")


def _flags(parameters: Iterable[Any]) -> Iterable[str]:
    shown = [one for one in parameters if not getattr(one, "hidden", False) and one.name != "help"]
    if shown:
        yield from ("| argument or flag | what it is |", "|---|---|")
    for one in shown:
        names = one.metavar or one.name.upper() if one.param_type_name == "argument" else _spelling(one)
        must = " **Needed.**" if one.required else ""
        yield f"| `{names}` | {_cell(one.help or '')}{must} |"


def _spelling(one: Any) -> str:
    value = "" if one.is_flag else f" {one.metavar or one.name.upper()}"
    return ", ".join(one.opts) + value + "".join(f", {other}" for other in one.secondary_opts)


def recipes() -> str:
    """Every recipe that comes with the package, by what it is for."""
    loaded = [load_recipe(name) for name in recipe_names()]
    lines = [
        "# Recipes",
        "",
        "A recipe is a YAML file of settings that one command turns into a run. `--recipe NAME` takes",
    ]
    lines += [
        "one of these, `--recipe FILE.yaml` one of yours, and `--set name=value` changes a setting of either.",
        "",
    ]
    lines += ["`llmrec schema recipe` prints the JSON Schema, for editors.", ""]
    for kind, (title, verb) in _KINDS.items():
        lines += [f"## {title}", "", f"For {verb}.", "", "| recipe | what it is |", "|---|---|"]
        for recipe in (one for one in loaded if one.kind == kind):
            lines.append(f"| [{recipe.name}](../../llmrec/recipes/{recipe.name}.yaml) | {_cell(recipe.summary)} |")
        lines.append("")
    return "\n".join(lines)


def prompts() -> str:
    """Every prompt that comes with the package, and the words it has in each language."""
    lines = ["# Prompt files", "", "A version that a result cites is never edited; the next one is a file of its own."]
    lines += ["How prompts work: [Prompts](../prompts.md). `llmrec schema prompt` prints the JSON Schema.", ""]
    for folder, title in (("next_title", "The next title"), ("product_text", "The text of a product, for encoders")):
        lines += [f"## {title}", "", "| prompt | what it is | languages |", "|---|---|---|"]
        for path in sorted((ROOT / "prompts" / folder).glob("*.yaml")):
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            languages = ", ".join(content.get("wording") or {}) or "any"
            link = f"[{path.stem}](../../prompts/{folder}/{path.name})"
            lines.append(f"| {link} | {_cell(content['summary'])} | {languages} |")
        lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")


REFERENCE: Final = {
    "reference/api.md": api,
    "reference/commands.md": commands,
    "reference/recipes.md": recipes,
    "reference/prompts.md": prompts,
}
