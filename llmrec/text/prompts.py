"""Prompts: versioned texts that turn a session's most recent products into what a model reads.

A prompt is one YAML file, ``prompts/TASK/NAME_vN.yaml``, with the keys

* ``summary``: one sentence;
* ``variables``: what the template reads, name and meaning: ``products`` (oldest first), ``product.FIELD`` for each
  field of a product, ``words.KEY`` for each phrase of ``wording``, ``locale``; for `llmrec rerank` also
  ``candidates``, with ``candidate.label`` and ``candidate.title``;
* ``template``: Jinja, one for all languages, in a sandbox where an undefined name is an error;
* ``system``: Jinja as well, for chat models: what the model is told once, before the messages made by ``template``;
* ``wording``: for each language code the phrases that the template reads as ``words.KEY``; none if it needs none.

A version that a result cites is never edited; a new one is added. Results carry the SHA-256 of the file.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

import jinja2

from llmrec.console import Table, notice, table
from llmrec.errors import ConfigError, nearest
from llmrec.files import read_yaml, sha256_of, shipped_folder
from llmrec.languages import VARIABLE, known_languages, locales, own_phrases, own_speech
from llmrec.settings import build, checked
from llmrec.text.sandbox.limited import LimitedEnvironment, compile_template, render

__all__ = ["PRODUCT_FIELDS", "Prompt", "load_prompt", "one_line", "prompt_names", "prompt_table"]

PRODUCT_FIELDS: Final = ("title", "brand", "color", "size", "model", "material", "author", "price")

CANDIDATE_FIELDS: Final = ("label", "title")
DEFAULT_TASK = "next_title"
FALLBACK = "en"


def one_line(text: str) -> str:
    """Collapse every run of white space to one space, so that a title cannot break the lines of a prompt."""
    return " ".join(text.split())


@dataclass(frozen=True, kw_only=True)
class PromptFile:
    summary: str
    variables: Mapping[str, str]
    template: str
    system: str = ""
    wording: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Prompt:
    """One version of a prompt.

    Attributes:
        name: What `load_prompt` finds it by: ``next_title/plain_v1``, or the path of a user's own file.
        path: Its file.
        hash: SHA-256 of the file's bytes, in hexadecimal; of what a user's language file changes in it, too.
        summary: What it is, in one sentence.
        variables: What the template reads, with its meaning.
        wording: For each language code, phrase by key; empty where the template has no words of its own.
        template: Jinja source.
        system: Jinja source of a chat's system message; empty where the prompt has none.
    """

    name: str
    path: Path
    hash: str
    summary: str
    variables: Mapping[str, str]
    wording: Mapping[str, Mapping[str, str]]
    template: str
    system: str = ""
    _turns: set[str] = field(default_factory=set, repr=False)

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The product fields that the template reads, ``title`` first."""
        return tuple(name for name in PRODUCT_FIELDS if name == "title" or f"product.{name}" in self.variables)

    @property
    def names_candidates(self) -> bool:
        """Whether the template reads products that are to be ordered."""
        return "candidates" in self.variables

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return self._compile("template", self.template)

    @cached_property
    def _compiled_system(self) -> jinja2.Template:
        return self._compile("system", self.system)

    def _compile(self, key: str, source: str) -> jinja2.Template:
        try:
            return compile_template(_environment(), source)
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"{self.path}: the {key}, line {error.lineno}: {error.message}") from error
        except Exception as error:  # nested too deep, a number of a thousand digits …
            raise ConfigError(f"{self.path}: the {key} cannot be read: {error or type(error).__name__}") from error

    def words(self, locale: str) -> Mapping[str, str]:
        """Phrases for a locale; with one notice a locale, those of its fallback where the prompt lacks its language."""
        if not self.wording:
            return {}
        known = locales().get(locale)
        if known and known.language in self.wording:
            return self.wording[known.language]
        fallback = known.wording if known and known.wording in self.wording else FALLBACK
        if locale not in self._turns:
            self._turns.add(locale)
            spoken = "English" if fallback == FALLBACK else f"'{fallback}'"
            notice(f"prompt {self.name} has no wording for locale '{locale}'; it speaks {spoken} there")
        return self.wording[fallback]

    def render(
        self,
        products: Sequence[Mapping[str, str]],
        locale: str,
        candidates: Sequence[Mapping[str, str]] = (),
    ) -> str:
        """Write the prompt of one session as one text, the system message first where there is one.

        Args:
            products: The most recent products, oldest first; each maps fields of `PRODUCT_FIELDS` to text. A field that
                is left out is empty. Their text is data: nothing in it is evaluated.
            locale: The session's locale; it chooses the wording.
            candidates: ``label`` and ``title`` of the products to order, for a prompt that names them.

        Returns:
            The text, without white space around it.

        Raises:
            ConfigError: the template reads an undefined variable or fails, or names candidates and there are none;
                names the file and the variable.
        """
        words = self.words(locale)
        text = self._render(products, locale, words, candidates)
        if not self.system:
            return text
        return f"{self._render(products, locale, words, candidates, self._compiled_system)}\n{text}"

    def messages(
        self,
        products: Sequence[Mapping[str, str]],
        locale: str,
        shots: Sequence[tuple[Sequence[Mapping[str, str]], str]] = (),
        candidates: Sequence[Mapping[str, str]] = (),
    ) -> list[dict[str, str]]:
        """Write the messages that a chat model answers, as OpenAI's protocol has them.

        Args:
            products: As for `render`.
            locale: As for `render`.
            shots: Examples: the products of a session and the title that came next; each is a question and its answer.
            candidates: As for `render`.

        Returns:
            ``role`` and ``content`` of each message: ``system`` where the prompt has one, ``user`` and ``assistant``
            for each example, ``user`` for the session.

        Raises:
            ConfigError: as `render`.
        """
        words = self.words(locale)
        system = self._render(products, locale, words, candidates, self._compiled_system)
        turns = [("system", system)] if self.system else []
        for seen, title in shots:
            turns += [("user", self._render(seen, locale, words, candidates)), ("assistant", one_line(title))]
        turns.append(("user", self._render(products, locale, words, candidates)))
        return [{"role": role, "content": content} for role, content in turns]

    def _render(
        self,
        products: Sequence[Mapping[str, str]],
        locale: str,
        words: Mapping[str, str],
        candidates: Sequence[Mapping[str, str]],
        template: jinja2.Template | None = None,
    ) -> str:
        if self.names_candidates and not candidates:
            raise ConfigError(f"prompt {self.name} asks about candidates, which `llmrec rerank` alone has")
        shown = [{name: one_line(product.get(name, "")) for name in self.fields} for product in products]
        try:
            values: dict[str, Any] = {"products": shown, "words": words, "locale": locale}
            if self.names_candidates:
                values["candidates"] = [{name: one_line(one[name]) for name in CANDIDATE_FIELDS} for one in candidates]
            text = render(template or self._compiled, values).strip()
            text.encode()  # half a pair is no text
            return text
        except jinja2.UndefinedError as error:
            raise ConfigError(f"{self.path}: {self._undefined(str(error.message))}") from error
        except Exception as error:
            raise ConfigError(f"{self.path}: the template fails: {error or type(error).__name__}") from error

    def _undefined(self, message: str) -> str:
        """Name the variable that Jinja did not find and the nearest one that there is."""
        found = re.search(r"'(\w+)' is undefined|no attribute '?(\w+)'?", message)
        if not found:
            return f"the template fails: {message}"
        if found[1]:
            hint = "; list it under 'variables'" if found[1] == "candidates" else ""
            return f"undefined variable '{found[1]}'{hint or nearest(found[1], ('products', 'words', 'locale'))}"
        phrases = set(self.wording.get(FALLBACK, {}))
        hint = f"; list it under 'variables' as product.{found[2]}" if found[2] in PRODUCT_FIELDS else ""
        return f"undefined variable '{found[2]}'{hint or nearest(found[2], phrases | set(self.fields))}"


@cache
def _environment() -> LimitedEnvironment:
    return LimitedEnvironment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def prompt_names() -> list[str]:
    """Names of the prompts that come with the package, as ``next_title/plain_v1``, oldest version first."""
    folder = shipped_folder("prompts")
    names = (path.relative_to(folder).with_suffix("").as_posix() for path in folder.glob("*/*.yaml"))
    return sorted(names, key=_family_and_version)


def _family_and_version(name: str) -> tuple[str, int]:
    family, _, version = name.rpartition("_v")
    return (family, int(version)) if family and version.isdecimal() else (name, 0)


def load_prompt(name: str) -> Prompt:
    """Load a prompt.

    Args:
        name: ``plain`` (its newest version), ``plain_v1``, ``next_title/plain_v1``, or the path of a user's own YAML
            file.

    Raises:
        ConfigError: there is no such prompt, a key or variable of it is unknown, or its template cannot be rendered.
    """
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"{name}: no such prompt file; the shipped ones: {', '.join(prompt_names())}")
        return _read(path, name)
    full = name if "/" in name else f"{DEFAULT_TASK}/{name}"
    known = prompt_names()
    versions = [one for one in known if full in (one, _family_and_version(one)[0])]
    if not versions:
        families = {_family_and_version(one)[0].removeprefix(f"{DEFAULT_TASK}/") for one in known}
        raise ConfigError(f"no prompt '{name}'{nearest(name, families | set(known))}")
    return _read(shipped_folder("prompts") / f"{versions[-1]}.yaml", versions[-1])


def _read(path: Path, name: str) -> Prompt:
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: a prompt is a mapping with 'summary', 'variables' and 'template'")
    given = build(PromptFile, {key: value for key, value in content.items() if value is not None}, str(path))
    for key in ("summary", "template"):
        if not getattr(given, key).strip():
            raise ConfigError(f"{path}: '{key}' is empty; write it")
    _check_wording(str(path), given.wording)
    wording = _with_own_phrases(name, given.wording)
    prompt = Prompt(
        name=name,
        path=path,
        hash=_hash(path, own_speech(name) if wording else {}),
        summary=given.summary,
        variables=_variables(path, given.variables, wording.get(FALLBACK, {})),
        wording=wording,
        template=given.template,
        system=given.system,
    )
    _try_out(prompt)
    return prompt


def _with_own_phrases(name: str, wording: Mapping[str, Mapping[str, str]]) -> Mapping[str, Mapping[str, str]]:
    """The wording with the phrases that the user's language file has for it."""
    file, phrases = own_phrases()
    for prompt in phrases:
        if prompt not in prompt_names():
            raise ConfigError(f"{file}: phrases for an unknown prompt '{prompt}'{nearest(prompt, prompt_names())}")
    if name not in phrases:
        return wording
    where = f"{file}: prompt {name}"
    merged = {**wording, **checked(phrases[name], Mapping[str, Mapping[str, str]], f"{where}: 'wording'")}
    _check_wording(where, merged)
    return merged


def _hash(path: Path, speech: Mapping[str, Any]) -> str:
    shipped = sha256_of(path)
    return hashlib.sha256(f"{shipped} {json.dumps(speech, sort_keys=True)}".encode()).hexdigest() if speech else shipped


def _check_wording(where: str, wording: Mapping[str, Mapping[str, str]]) -> None:
    """Every language has the phrases that English has, for English is what other locales fall back to."""
    for language, phrases in wording.items():
        if language not in known_languages():
            near = nearest(str(language), known_languages())
            raise ConfigError(f"{where}: unknown language '{language}'{near} (a file named by {VARIABLE} adds others)")
        odd = sorted(set(phrases) ^ set(wording.get(FALLBACK, {})))
        if odd:
            raise ConfigError(f"{where}: '{odd[0]}' must be worded both in '{FALLBACK}' and in '{language}'")


def _variables(path: Path, variables: Mapping[str, str], phrases: Mapping[str, str]) -> Mapping[str, str]:
    products = {f"product.{name}" for name in PRODUCT_FIELDS}
    candidates = {"candidates", *(f"candidate.{name}" for name in CANDIDATE_FIELDS)}
    known = {"products", "locale", *products, *candidates, *(f"words.{key}" for key in phrases)}
    for variable in variables:
        if variable not in known:
            raise ConfigError(f"{path}: unknown variable '{variable}'{nearest(variable, known)}")
    return variables


def _try_out(prompt: Prompt) -> None:
    """Render for every language, with and without products and attributes: a mistake shows before a long run."""
    full, bare = dict.fromkeys(PRODUCT_FIELDS, "text"), {"title": "text"}
    candidates = [{"label": label, "title": "text"} for label in "AB"] if prompt.names_candidates else []
    for words in prompt.wording.values() or [{}]:
        for products in ([], [full], [full, bare]):
            for template in (prompt._compiled, prompt._compiled_system):
                prompt._render(products, "UK", words, candidates, template)


def prompt_table() -> Table:
    """Table of the shipped prompts for ``llmrec prompts list``."""
    prompts = [load_prompt(name) for name in prompt_names()]
    rows = [
        (prompt.name, prompt.summary, " ".join(prompt.wording) or "any", " ".join(prompt.fields), prompt.hash[:12])
        for prompt in prompts
    ]
    built = table("Prompts", ("name", "summary", "languages", "reads", "sha256"), rows)
    built.columns[0].no_wrap = True
    for column in built.columns:
        column.justify = "left"
    return built
