"""The environment that makes templates pay for what they take, and how they are compiled and rendered."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace, pass_context
from jinja2.visitor import NodeTransformer

from llmrec.text.sandbox.account import MOST_CHARACTERS, SIZED, Account, LimitError
from llmrec.text.sandbox.tame import is_tame

__all__ = ["LimitedEnvironment", "compile_template", "render"]

SOURCE_CHARACTERS: Final = 100_000
_READING_TESTS: Final = {
    *("in", "eq", "==", "equalto", "ne", "!=", "lt", "<", "lessthan", "le", "<=", "gt", ">", "greaterthan", "ge", ">="),
    *("lower", "upper"),
}
_NO_TEXT: Final = {"encode", "to_bytes"}  # bytes have ways of their own to be slow


class _LimitedContext(Context):
    """The context of one render, with its account."""

    account: Account

    def derived(self, locals: dict[str, Any] | None = None) -> Context:
        made: Any = super().derived(locals)
        made.account = self.account
        return made  # type: ignore[no-any-return]


@pass_context
def _each(context: Any, values: Any, weight: int, written: int) -> Any:
    """What a loop goes over, its rounds paid."""
    account: Account = context.account
    if not isinstance(values, (str, *SIZED)):
        values = account.listed(values)
    account.step(1 + len(values) * weight)
    account.write(len(values) * written)
    return values


@pass_context
def _made(context: Any, value: Any) -> Any:
    return context.account.made(value)


@pass_context
def _tick(context: Any, value: Any) -> Any:
    context.account.step(20)  # what follows may read a long text
    return value


@pass_context
def _joined(context: Any, values: tuple[Any, ...]) -> Any:
    context.account.weigh(values)
    return context.account.made((markup_join if context.eval_ctx.autoescape else str_join)(values))


@pass_context
def _shown(context: Any, value: Any) -> Any:
    """What is written: anything but text becomes text here, while it is known how much that may be."""
    if type(value) is str or isinstance(value, str | jinja2.Undefined):
        return value
    context.account.weigh([value])
    return context.account.made(str(context.account.made(value)))


# No template can spell these names.
_EACH, _MADE, _TICK, _JOINED = "(each)", "(made)", "(tick)", "(joined)"
_OWN: Final = {_EACH: _each, _MADE: _made, _TICK: _tick, _JOINED: _joined}


def _limited(name: str, function: Any) -> Callable[..., Any]:
    """A filter or a test that pays."""
    rule = "%" if name == "format" else name  # unlike the method of that name
    passes = getattr(getattr(function, "jinja_pass_arg", None), "name", "")

    @pass_context
    def paying(context: Any, *values: Any, **named: Any) -> Any:
        account: Account = context.account
        account.function(rule, [*values, *named.values()])
        if passes == "environment":
            values = (context.environment, *values)
        elif passes:
            values = (context if passes == "context" else context.eval_ctx, *values)
        return account.made(function(*values, **named))

    return paying


class _Paying(NodeTransformer):
    """Makes loops, texts put together, slices, literals and comparisons pay."""

    def generic_visit(self, node: nodes.Node, *more: Any, **named: Any) -> nodes.Node:
        """Change what is inside, then the node."""
        return _paying(super().generic_visit(node, *more, **named))


def _paying(node: nodes.Node) -> nodes.Node:
    match node:
        case nodes.For():
            inner = [one for part in (*node.body, *filter(None, [node.test])) for one in part.find_all(nodes.Node)]
            written = sum(len(one.data) for one in inner if isinstance(one, nodes.TemplateData))
            node.iter = _filter(node.iter, _EACH, len(inner) + 1, written)
        case nodes.Concat():
            return _filter(nodes.Tuple(node.nodes, "load", lineno=node.lineno), _JOINED)
        case nodes.Getitem(arg=nodes.Slice()) | nodes.Dict():
            return _filter(node, _MADE)
        case nodes.List() | nodes.Tuple():
            plain = getattr(node, "ctx", "load") == "store" or all(isinstance(one, nodes.Const) for one in node.items)
            return node if plain else _filter(node, _MADE)
        case nodes.Compare():
            sides = [node.expr, *(one.expr for one in node.ops)]
            within = any(one.op in ("in", "notin") for one in node.ops)
            if within or not any(isinstance(one, nodes.Const) for one in sides):
                node.expr = _filter(node.expr, _TICK)
        case nodes.AssignBlock(filter=None):
            node.filter = nodes.Filter(None, _MADE, [], [], None, None, lineno=node.lineno)
    return node


def _filter(node: Any, name: str, *numbers: int) -> nodes.Filter:
    return nodes.Filter(node, name, [nodes.Const(one) for one in numbers], [], None, None, lineno=node.lineno)


class LimitedEnvironment(ImmutableSandboxedEnvironment):
    """A sandbox whose templates are compiled and rendered by the functions below.

    Args:
        like: Whose extensions, filters and globals it has, but `lipsum`; nobody's globals if not given.
        settings: Jinja's.

    Attributes:
        plain: The same without limits, for templates that are tame.
    """

    context_class = _LimitedContext
    intercepted_binops = frozenset(("+", "*", "%", "**"))

    def __init__(self, like: jinja2.Environment | None = None, **settings: Any) -> None:
        settings |= {"extensions": [type(one) for one in like.extensions.values()] if like else []}
        settings |= {"optimized": False}  # its time grows with the cube of the depth of an expression
        super().__init__(finalize=_shown, **settings)
        self.plain = ImmutableSandboxedEnvironment(**settings)
        for environment in (self, self.plain):
            environment.globals.clear()  # a prompt needs no `range` or `lipsum`
            if like is not None:
                environment.globals |= {name: one for name, one in like.globals.items() if name != "lipsum"}
                environment.filters |= like.filters
        self.filters = {name: _limited(name, one) for name, one in self.filters.items() if name not in _OWN} | _OWN
        self.tests |= {name: _limited("test", one) for name, one in self.tests.items() if name in _READING_TESTS}

    def _generate(self, source: nodes.Template, *more: Any, **named: Any) -> str:
        changed = _Paying().visit(source)
        changed.set_environment(self)
        return super()._generate(changed, *more, **named)

    def _compile(self, source: str, filename: str) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)  # `7[0]`: it fails when it is rendered
            return super()._compile(source, filename)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        """Whether a template may read an attribute."""
        return attr not in _NO_TEXT and super().is_safe_attribute(obj, attr, value)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """An operator that may make more than it is given."""
        context.account.operator(operator, left, right)
        return context.account.made(super().call_binop(context, operator, left, right))

    def call(__self, __context: Any, __obj: Any, *values: Any, **named: Any) -> Any:  # noqa: N805 - as Jinja has it
        """A method or a macro."""
        account: Account = __context.account
        given = [*values, *(value for name, value in named.items() if not name.startswith("_"))]
        method = getattr(__obj, "__wrapped__", __obj)  # the sandbox wraps `format`
        owner = getattr(method, "__self__", None)
        if isinstance(owner, (str, int, float, *SIZED)):
            account.function(method.__name__, [owner, *given])
        else:
            account.weigh(value for value in given if not isinstance(value, Namespace))
            account.step(50)
        values = tuple(account.listed(value) if isinstance(value, Iterator) else value for value in values)
        return account.made(super().call(__context, __obj, *values, **named))

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An element, by number or name."""
        if type(argument) is tuple:  # to be found it is read as a whole
            return self.undefined(obj=obj, name="(…)")
        return super().getitem(obj, argument)

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """The text of a macro, a block or a template."""
        known = pieces if isinstance(pieces, list) else list(pieces)
        if sum(map(len, known)) > MOST_CHARACTERS:
            raise LimitError(f"more than {MOST_CHARACTERS:,} characters of text")
        return "".join(known)


def compile_template(environment: LimitedEnvironment, source: str) -> jinja2.Template:
    """Compile a template.

    Raises:
        LimitError: it is too long.
        jinja2.TemplateSyntaxError: it is no template.
        Exception: SyntaxError, RecursionError, ValueError … where it is nested too deep or a number is too long.
    """
    if len(source) > SOURCE_CHARACTERS:
        raise LimitError(f"more than {SOURCE_CHARACTERS:,} characters of template")
    chosen = environment.plain if is_tame(environment.plain, source) else environment
    return chosen.from_string(source)


def render(template: jinja2.Template, values: Mapping[str, Any]) -> str:
    """Render a template that `compile_template` made.

    Raises:
        LimitError: it asks for too much.
        Exception: what Jinja lets through from expressions: 1 / 0, 'a' + 1, a macro that calls itself …
    """
    context: Any = template.new_context(dict(values))
    if not isinstance(context, _LimitedContext):  # what is tame writes little; a list of it is what takes time here
        return "".join(template.root_render_func(context))
    context.account = Account(values.values())
    return LimitedEnvironment.concat(template.root_render_func(context))
