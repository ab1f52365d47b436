"""Templates of which it can be seen, before they run, that they take little: they need no limits."""

from __future__ import annotations

from collections import Counter
from typing import Final

import jinja2
from jinja2 import nodes

__all__ = ["is_tame"]

SOURCE_CHARACTERS: Final = 8_000
READS: Final = 8  # of one variable as a whole
WRITES: Final = 100  # texts and values
LITERALS: Final = 50  # in a list
_KNOWN: Final = (
    *(nodes.Output, nodes.TemplateData, nodes.Name, nodes.Getattr, nodes.Getitem, nodes.Const, nodes.For, nodes.If),
    *(nodes.List, nodes.CondExpr, nodes.Not, nodes.And, nodes.Or, nodes.Filter, nodes.Keyword, nodes.Test),
)


def is_tame(environment: jinja2.Environment, source: str) -> bool:
    """Whether a template only reads: a few times, in loops over a variable or over a short list within one, no more.

    Raises:
        jinja2.TemplateSyntaxError: it is no template.
    """
    if len(source) > SOURCE_CHARACTERS:
        return False
    template = environment.parse(source)
    found = list(template.find_all(nodes.Node))
    parts = {id(node.node) for node in found if isinstance(node, nodes.Getattr | nodes.Getitem)}
    reads = Counter(node.name for node in found if isinstance(node, nodes.Name) and id(node) not in parts)
    written = sum(len(node.nodes) for node in found if isinstance(node, nodes.Output))
    few = max(reads.values(), default=0) <= READS and written <= WRITES
    return few and all(isinstance(node, _KNOWN) and _only_reads(node) for node in found)


def _only_reads(node: nodes.Node) -> bool:
    match node:
        case nodes.Filter(node=inner, name="join", args=[nodes.Const(value=str() as glue)], kwargs=[]):
            plain = isinstance(inner, nodes.Name) or (isinstance(inner, nodes.Filter) and inner.name == "map")
            return plain and len(glue) < LITERALS  # a text joined again and again doubles and doubles
        case nodes.Filter(node=nodes.Name(), name="map", args=[], kwargs=[only]):
            return bool(only.key == "attribute") and isinstance(only.value, nodes.Const)
        case nodes.Filter():
            return node.name in ("length", "trim", "lower", "upper") and not node.args and not node.kwargs
        case nodes.Test():
            return node.name == "defined"
        case nodes.List():
            return len(node.items) <= LITERALS and all(isinstance(one, nodes.Const) for one in node.items)
        case nodes.For():
            return not node.recursive and isinstance(node.iter, nodes.Name | nodes.List) and _is_flat(node)
    return True


def _is_flat(loop: nodes.For) -> bool:
    """Whether a loop's body neither reads what it goes over as a whole, nor holds a loop but over literals."""
    over = loop.iter.name if isinstance(loop.iter, nodes.Name) else ""
    for node in (one for part in loop.body for one in (part, *part.find_all(nodes.Node))):
        if isinstance(node, nodes.Filter) or (isinstance(node, nodes.Name) and node.name == over):
            return False
        if isinstance(node, nodes.For) and not (over and isinstance(node.iter, nodes.List)):
            return False
    return True
