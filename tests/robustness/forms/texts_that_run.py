"""Changes of YAML, and of the templates in it: what computes, escapes, grows or fails."""

from __future__ import annotations

from random import Random
from typing import Final

from tests.robustness.forms.plain import BYTES, Mutator, Skip
from tests.robustness.forms.trees import encoded, tree_changed

__all__ = ["PROMPT", "YAML"]


def yaml_changed(data: bytes, draw: Random) -> bytes:
    """One thing of the tree is another."""
    import yaml

    try:
        tree = yaml.safe_load(data)
        return bytes(yaml.safe_dump(tree_changed(tree, draw), allow_unicode=draw.random() < 0.5), "utf-8", "replace")
    except (yaml.YAMLError, ValueError):
        raise Skip from None


_YAML_TEXTS: Final = (
    *("!!python/object/apply:os.system ['true']", "&a [*a]", "*nothing", "2001-13-45", "0x10", "1_000", "1:30", "~"),
    *(".inf", ".nan", "9" * 4_400, "[" * 2_000, "{a: {b: c}}", "<<: *x", "? x", "|", "!!binary x", "1e999", "off"),
)


def yaml_words(data: bytes, draw: Random) -> bytes:
    """A value is one of those that YAML understands in its own way."""
    lines = data.split(b"\n")
    keyed = [number for number, line in enumerate(lines) if b": " in line]
    if not keyed:
        raise Skip
    one = draw.choice(keyed)
    lines[one] = lines[one].partition(b": ")[0] + b": " + draw.choice(_YAML_TEXTS).encode()
    return b"\n".join(lines)


def yaml_bomb(data: bytes, draw: Random) -> bytes:
    """Aliases of aliases: small in the file, huge in memory where they are copied."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join(9 * [f'*a{n - 1}'])}]" for n in range(1, draw.choice((3, 8)))]
    return data + ("\n" + "\n".join(rows) + "\n").encode()


YAML: Final[tuple[Mutator, ...]] = (*(yaml_changed,) * 4, yaml_words, yaml_words, yaml_bomb, encoded)

_JINJA: Final = (
    *("{% for a in 'x' * 99 %}{% for b in 'x' * 99 %}{% for c in 'x' * 99 %}{% for d in 'x' * 99 %}x{% endfor %}",),
    *("{{ 'x' * 10 ** 9 }}", "{{ 10 ** 10 ** 8 }}", "{{ '%0999999999d' % 1 }}", "{{ ('x' * 10**6) | wordwrap(1) }}"),
    *("{{ ''.__class__.__mro__ }}", "{{ products.__class__ }}", "{{ self }}", "{{ cycler }}", "{{ range(10**9) }}"),
    *("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "{{ 1 / 0 }}", "{{ 'a' + 1 }}", "{% include 'x' %}"),
    *(
        "{% import 'os' as os %}",
        "{{ products | pprint }}",
        "{{ lipsum(n=100000) }}",
        "{{ products[99] }}",
        "{% raw %}",
    ),
    *("{{ '{:>999999999}'.format(1) }}", "{{ 'x' | center(10**9) }}", "{{ [1] * 10**9 }}", "{% set x = 1 %}{{ x }}"),
    *("{% for a in products recursive %}{{ loop(products) }}{% endfor %}", "{{ 'x'.join('y' * 10**7) }}", "{{", "{%"),
    *("{{ products | map('upper') | list }}", "{{ words }}", "{{ locale.format_map }}", "{{ 'x' | indent(10**8) }}"),
    *("{{ '\x1b[31m' }}", "{{ 'a' | batch(10**9) | list }}", "{{ locale | attr('__class__') }}", "{{ x.y }}", "{# "),
)


def jinja_changed(data: bytes, draw: Random) -> bytes:
    """A prompt's template has something in it that computes, escapes or fails."""
    import yaml

    try:
        tree = yaml.safe_load(data)
    except (yaml.YAMLError, ValueError):
        raise Skip from None
    if not isinstance(tree, dict) or not isinstance(tree.get("template"), str):
        raise Skip
    key = draw.choice([name for name in ("template", "system") if isinstance(tree.get(name), str)])
    text = tree[key]
    at = draw.randrange(len(text) + 1)
    way = draw.randrange(4)
    if way < 2:
        text = text[:at] + draw.choice(_JINJA) + text[at:]
    elif way == 2:
        text = text[:at] + text[at + draw.choice((1, 2, 8)) :]
    else:
        text = bytes(draw.choice(BYTES)(text.encode(), draw)).decode("utf-8", "replace")
    tree[key] = text
    return bytes(yaml.safe_dump(tree, allow_unicode=True, sort_keys=False), "utf-8", "replace")


PROMPT: Final[tuple[Mutator, ...]] = (*(jinja_changed,) * 6, *YAML)
