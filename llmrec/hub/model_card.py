"""The card of a model: what it is, how to use it, what it scored, what it was made of, what it is not for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import llmrec
from llmrec.evaluation.results import Result
from llmrec.hub.cards import card_text, language_codes, portable, section
from llmrec.hub.facts import Facts
from llmrec.hub.forms import Form
from llmrec.hub.remote import Repo
from llmrec.reporting.blocks import Block, Code, Heading, Paragraph, Table
from llmrec.reporting.tables import label_of, result_blocks

__all__ = ["model_card"]

_MADE: Final = ("command", "recipe", "seed", "git_commit", "data_fingerprint", "sessions_fingerprint", "finished")
_USE: Final = {
    "a ranker": 'ranker.rank([["B0A", "B0B"]], k=100, locale="UK").to_list()',
    "a ranker for each locale": 'ranker.rank([["B0A", "B0B"]], k=100, locale="UK").to_list()',
    "a title selector": "# ranks and chooses beside a store: llmrec select --load DIR --data STORE --out RUN",
    "an encoder": 'encoder.encode_queries(["kettle 1.7 l"])  # vectors of length 1',
    "an index of similar products": 'similar.search(["kettle 1.7 l"], k=10)',
    "a title model": 'writer.write([["USB-C cable 2 m", "USB-C charger 65 W"]], locale="UK")',
}
_CALLED: Final = {
    "a ranker": "ranker",
    "a ranker for each locale": "ranker",
    "a title selector": "selector",
    "an encoder": "encoder",
    "an index of similar products": "similar",
    "a title model": "writer",
}


def model_card(
    form: Form,
    facts: Facts,
    repo: Repo,
    *,
    licence: str | None,
    base_model: str | None,
    base_licence: str | None,
    results: Sequence[Result],
) -> str:
    """The card as text.

    Args:
        form: What it is of.
        facts: What its folder says.
        repo: Where it will be.
        licence: The hub's name of its licence; None where its owner names none.
        base_model: Hub name of the model that its weights began as, or None.
        base_licence: Licence of that one, where it is known.
        results: Scores of it.
    """
    locales = sorted({*facts.locales, *(locale for one in results for locale in one.locales)})
    header = {
        "library_name": "llmrec",
        "pipeline_tag": form.pipeline,
        "language": language_codes(locales),
        "license": licence,
        "base_model": base_model,
        "tags": ["llmrec", *form.tags, *([facts.name] if facts.name.isascii() else [])],
        "model-index": _index(form, repo, results),
    }
    owner = f"The model that it began as, {base_model}, is under {base_licence}." if base_licence else ""
    named = licence or "Its owner has named none: ask before you use it."
    blocks: list[Block] = [
        Heading(repo.name.rpartition("/")[2], 1),
        Paragraph(f"{facts.name}, {form.what} of llmrec {llmrec.__version__}. {form.summary}"),
        Heading("Use"),
        Code(_usage(form, repo), "python"),
        *_scores(facts, results),
        Heading("Made of"),
        _settings(facts, base_model, locales),
        *_provenance(facts, results),
        *section("Intended use", form.intended),
        *section("Limits", *form.limits),
        *section("Licence", " ".join(part for part in (named, owner) if part)),
    ]
    return card_text(header, blocks)


def _usage(form: Form, repo: Repo) -> str:
    lines = ["# pip install 'llmrec[hub]'", "import llmrec", ""]
    return "\n".join([*lines, f'{_CALLED[form.what]} = llmrec.from_pretrained("{repo}")', _USE[form.what]])


def _index(form: Form, repo: Repo, results: Sequence[Result]) -> list[dict[str, Any]]:
    """Scores as the hub reads them."""
    entries = []
    for one in results:
        data = str(one.provenance.get("data_fingerprint") or one.targets or "sessions")
        entries.append(
            {
                "task": {
                    "type": form.pipeline or "other",
                    "name": "the next title" if one.kind == "titles" else "the next product",
                },
                "dataset": {"type": f"llmrec-{data[:12]}", "name": portable(one.targets or "sessions")},
                "metrics": [
                    {"type": metric, "name": label_of(metric), "value": round(value, 6)}
                    for metric, value in one.overall.metrics.items()
                ],
            }
        )
    return [{"name": repo.name.rpartition("/")[2], "results": entries}] if entries else []


def _scores(facts: Facts, results: Sequence[Result]) -> list[Block]:
    if not results and not facts.notes:
        return section("Scores", "None was given when this was shared.")
    blocks: list[Block] = [*section("Scores", *facts.notes)] if facts.notes else [Heading("Scores")]
    for one in results:
        first, *rest = result_blocks(one)
        blocks += [Heading(portable(getattr(first, "text", one.run)), 3), *rest]
    return blocks


def _settings(facts: Facts, base_model: str | None, locales: Sequence[str]) -> Table:
    rows = [["locales", ", ".join(locales) or "not recorded"]]
    rows += [["base model", base_model]] if base_model else []
    rows += [[key, _cell(portable(value))] for key, value in facts.settings.items() if value not in (None, [], {})]
    return Table(("setting", "value"), rows, align="l")


def _provenance(facts: Facts, results: Sequence[Result]) -> list[Block]:
    """How it, or what was scored of it, was made."""
    blocks: list[Block] = []
    for made in (facts.made, *(one.provenance for one in results)):
        rows = [[key.replace("_", " "), _cell(portable(made[key]))] for key in _MADE if made.get(key) is not None]
        versions = made.get("versions")
        if isinstance(versions, dict):
            rows.append(["versions", ", ".join(f"{name} {version}" for name, version in versions.items())])
        if rows:
            blocks += [Heading("Made by", 3), Table(("", ""), rows, align="l")]
    return blocks


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return str(value)
