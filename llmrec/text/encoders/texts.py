"""What an encoder reads of a product: a template under ``prompts/product_text``, filled with title and attributes."""

from __future__ import annotations

from typing import Any, Final

from llmrec.errors import ConfigError, nearest
from llmrec.text.prompts import Prompt, load_prompt, prompt_names

__all__ = ["DEFAULT_TEMPLATE", "TASK", "load_template", "render_texts", "template_columns"]

TASK: Final = "product_text"
DEFAULT_TEMPLATE: Final = "title"


def load_template(name: str = DEFAULT_TEMPLATE) -> Prompt:
    """Load a template: ``title`` (its newest version), ``title_v1``, or the path of a user's own YAML file.

    Raises:
        ConfigError: there is no such template, or it cannot be rendered.
    """
    if name.endswith((".yaml", ".yml")):
        return load_prompt(name)
    short = name.removeprefix(f"{TASK}/")
    known = [one.removeprefix(f"{TASK}/") for one in prompt_names() if one.startswith(f"{TASK}/")]
    if short not in {*known, *(one.rpartition("_v")[0] for one in known)}:
        raise ConfigError(f"--template {name}: no such template{nearest(short, known)}")
    return load_prompt(f"{TASK}/{short}")


def template_columns(template: Prompt) -> tuple[str, ...]:
    """Columns of the products that a template needs, ``locale`` and ``id`` among them."""
    return ("locale", "id", *template.fields)


def render_texts(template: Prompt, products: Any) -> list[str]:
    """Texts of products, each one line; empty for a product that has nothing the template reads.

    A title is text: Jinja or HTML in it is left as it stands.

    Args:
        template: What to write.
        products: Arrow table or batch with `template_columns`.
    """
    locales = products.column("locale").to_pylist()
    columns = [products.column(name).to_pylist() for name in template.fields]
    return [
        " ".join(template.render([_known(template.fields, values)], locale or "").split())
        for locale, *values in zip(locales, *columns, strict=True)
    ]


def _known(names: tuple[str, ...], values: list[Any]) -> dict[str, str]:
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in zip(names, values, strict=True)
        if value is not None
    }
