"""A template of anybody's ends: with its text, or with one line, in a moment and in little memory."""
# ruff: noqa: E501 - a template is read best in one line

from __future__ import annotations

import random
import resource
import string
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import jinja2
import pytest

from llmrec.errors import ConfigError
from llmrec.text.prompts import Prompt, load_prompt, prompt_names
from llmrec.text.sandbox.account import LimitError
from llmrec.text.sandbox.limited import LimitedEnvironment, compile_template, render
from llmrec.text.sandbox.tame import is_tame

PRODUCTS = [{"title": f"USB-C cable {number} m", "brand": "Anker"} for number in range(3)]
VALUES = {"products": PRODUCTS, "words": {"next": "Next:"}, "locale": "UK"}
ENVIRONMENT = LimitedEnvironment(undefined=jinja2.StrictUndefined)


def rendered(template: str, **values: object) -> str:
    return render(compile_template(ENVIRONMENT, template), VALUES | values)


BIG = "{% set s = 'x' * 1000 %}"
TEN = "'0123456789'"
ENDLESS = {
    "one operator": "{{ 'x' * 10**9 }}",
    "an empty list's": "{{ ([''] * 10**9) | length }}",
    "doubled": "{% set a = 'x' * 100000 %}{% set b = a ~ a ~ a ~ a ~ a ~ a %}{% set c = b ~ b %}{{ c ~ c ~ c }}",
    "added": "{% set a = 'x' * 100000 %}{% set b = a + a + a + a + a + a %}{% set c = b + b %}{{ c + c + c }}",
    "a power": "{{ 10 ** (10 ** 10) }}",
    "powers": "{{ (10 ** 1000) ** 3 }}",
    "a width": "{{ '%999999999d' % 1 }}",
    "a precision": "{{ '%.999999999f' % 1.5 }}",
    "a width given": "{{ '%*d' % (999999999, 1) }}",
    "widths": "{{ ('%9999d' * 5000) % ((1,) * 5000) }}",
    "format": "{{ '{:999999999}'.format(1) }}",
    "format, by a value": "{{ '{:{}}'.format('x', 999999999) }}",
    "format, by a text": "{{ '{:{}}'.format('x', '999999999') }}",
    "format, by keyword": "{{ '{a:{b}}'.format(a='x', b=999999999) }}",
    "format_map": "{{ '{a:999999999}'.format_map({'a': 1}) }}",
    "format, filter": "{{ '%999999999d' | format(1) }}",
    "format, of a large value": "{{ ('{0}' * 5000).format('x' * 5000) }}",
    "center": "{{ 'x' | center(10**9) }}",
    "center, folded": "{{ 'x' | center(1000000000) }}",
    "center, method": "{{ 'x'.center(10**9) }}",
    "center, of markup": "{{ ('x' | e).center(10**9) }}",
    "center, found by name": "{{ ('x' | attr('center'))(10**9) }}",
    "center, mapped": "{{ [1, 2] | map('center', 10**9) | list }}",
    "ljust": "{{ 'x'.ljust(10**9) }}",
    "zfill": "{{ 'x'.zfill(10**9) }}",
    "expandtabs": "{{ ('\\t' * 10000).expandtabs(100000) }}",
    "indent": "{{ ('a\\n' * 10000) | indent(100000) }}",
    "indent, by a text": "{{ ('a\\n' * 10000) | indent('x' * 10000) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [] | slice(10**8) | list }}",
    "replace": "{{ ('a' * 10000) | replace('a', 'b' * 10000) }}",
    "replace, method": "{{ ('a' * 10000).replace('a', 'b' * 10000) }}",
    "replace of nothing": "{{ ('a' * 10000).replace('', 'b' * 10000) }}",
    "translate": "{{ ('a' * 10000).translate({97: 'b' * 10000}) }}",
    "join": "{{ ([1] * 10000) | join('b' * 10000) }}",
    "join, method": "{{ ('b' * 10000).join('a' * 10000) }}",
    "tojson": "{{ ([[1]] * 10000) | tojson(10000) }}",
    "round": "{{ 1.5 | round(999999999, 'floor') }}",
    "wordwrap": "{{ ('a' * 500000) | wordwrap(1) }}",
    "striptags": "{{ ('<>' * 400000) | striptags }}",
    "urlize": "{{ ('a@a.' * 200000) | urlize }}",
    "punycode": "{{ ('ä' * 900000).encode('punycode') }}",
    "bytes": "{{ (1).to_bytes(10**9, 'big') }}",
    "loops": f"{{% for a in {TEN} %}}" * 12 + "{% endfor %}" * 12,
    "loops over one another": BIG
    + "{% for a in s %}{% for b in s %}{% for c in s %}{% endfor %}{% endfor %}{% endfor %}",
    "a loop that writes": BIG + "{% for a in s %}{% for b in s %}{{ s }}{% endfor %}{% endfor %}",
    "a loop with text": BIG + "{% for a in s %}{% for b in s %}" + "t" * 5000 + "{% endfor %}{% endfor %}",
    "a loop whose test fails": BIG + "{% for a in s %}{% for b in s if false %}{% endfor %}{% endfor %}",
    "a loop over a text": "{% for a in 'x' * 900000 %}{{ a }}{% for b in 'y' * 900000 %}{% endfor %}{% endfor %}",
    "a loop that compares": "{% set s = ['x' * 100] * 900 %}{% set t = ['x' * 100] * 900 %}"
    "{% for a in s %}{% for b in t %}{% if s == t %}{% endif %}{% endfor %}{% endfor %}",
    "a loop that looks": "{% set s = 'x' * 900000 %}{% for a in 'x' * 90000 %}{% if 'y' in s %}{% endif %}{% endfor %}",
    "a loop that tests": "{% set s = 'x' * 900000 %}{% for a in 'x' * 90000 %}{% if s is lower %}{% endif %}{% endfor %}",
    "a loop that slices": "{% set s = 'x' * 900000 %}{% for a in 'x' * 90000 %}{% set t = s[1:] %}{% endfor %}",
    "recursive": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "a macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "macros": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "a macro that doubles": "{% macro m(n, s) %}{% if n %}{{ m(n - 1, s ~ s) }}{% endif %}{% endmacro %}{{ m(60, 'x') }}",
    "arguments that double": "{% macro m(n) %}{% if n %}{{ m(n - 1, varargs, varargs) }}{% endif %}{% endmacro %}{{ m(60, 1) }}",
    "a macro's text": BIG + "{% macro m() %}{% for a in s %}{{ s }}{% endfor %}{% endmacro %}{{ m() }}{{ m() }}",
    "a caller": "{% macro m() %}{{ caller() }}{{ caller() }}{{ m2() }}{% endmacro %}{% macro m2() %}{% call m() %}x{% endcall %}"
    "{% endmacro %}{{ m2() }}",
    "a block": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "set blocks": "".join(f"{{% set a{n + 1} %}}{{{{ a{n} }}}}{{{{ a{n} }}}}{{% endset %}}" for n in range(60)).join(
        ["{% set a0 = 'x' %}", "{{ a60 }}"]
    ),
    "joined again": "{{ products | map(attribute='title')" + " | join(' || title')" * 40 + " }}",
    "lists of lists": "".join(f"{{% set a{n + 1} = [a{n}, a{n}] %}}" for n in range(60)).join(
        ["{% set a0 = ['x'] %}", "{{ a60 }}"]
    ),
    "dicts of dicts": "".join(f"{{% set a{n + 1} = {{1: a{n}, 2: a{n}}} %}}" for n in range(19)).join(
        ["{% set a0 = {1: 'x'} %}", "{{ a19 }}"]
    ),
    "pairs compared": "".join(
        f"{{% set a{n + 1} = (a{n}, a{n}) %}}{{% set b{n + 1} = (b{n}, b{n}) %}}" for n in range(19)
    ).join(["{% set a0 = (1, 2) %}{% set b0 = (1, 2) %}", "{{ a19 == b19 }}"]),
    "slices kept": "{% set s = 'x' * 900000 %}" + "".join(f"{{% set a{n} = s[{n}:] %}}" for n in range(1000)),
    "lists of letters": "{% set s = 'é€' * 400000 %}" + "".join(f"{{% set a{n} = s | list %}}" for n in range(50)),
    "letters sorted": "{{ ('€' * 900000) | sort }}",
    "letters": "{{ ('€' * 900000) | unique | list }}",
    "a long source": "x" * 200_000,
    "many operators": "{{ " + " + ".join(["1"] * 20000) + " }}",
    "many brackets": "{{ " + "(" * 20000 + "1" + ")" * 20000 + " }}",
    "a long chain": "{{ products" + ".x" * 400 + " }}",
    "a long chain of filters": "{{ products" + " | list" * 400 + " | center(10**9) }}",
    "nested": "{% if 1 %}" * 500 + "{% endif %}" * 500,
    "a long number": "{{ " + "9" * 5000 + " }}",
}


@pytest.mark.parametrize("template", ENDLESS.values(), ids=ENDLESS)
def test_what_would_never_end_is_an_error_soon_and_takes_no_memory(template: str) -> None:
    prompt = replace(load_prompt("plain"), template=template, path=Path("own.yaml"))
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
    with pytest.raises(ConfigError, match=r"own\.yaml: ") as caught:
        prompt.render(PRODUCTS, "UK")
    assert time.thread_time() - started < 3
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200
    assert len(str(caught.value)) < 500


def test_the_error_says_which_prompt_and_which_limit() -> None:
    prompt = replace(load_prompt("plain"), template="{{ 'x' * 10**9 }}", path=Path("own.yaml"))
    with pytest.raises(
        ConfigError, match=r"own\.yaml: the template fails: '\*' may make more than 1,\d+,\d+ characters"
    ):
        prompt.render(PRODUCTS, "UK")
    with pytest.raises(LimitError, match="more than 1,000,000 steps; it needs fewer or shorter loops"):
        rendered(ENDLESS["loops"])


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{ '-' * 20 }}", "-" * 20),
        ("{{ 1 + 2 * 3 - 4 // 3 ** 2 }} {{ 7 % 4 }} {{ [1] + [2] }}", "7 3 [1, 2]"),
        ("{{ '%s: %05.1f' % ('a', 2) }} {{ '{:>4}|{b}'.format(1, b=2) }}", "a: 002.0    1|2"),
        ("{{ products | map(attribute='title') | map('upper') | join(' / ') }}", " / ".join(p["title"].upper() for p in PRODUCTS)),
        ("{% for p in products | reverse %}{{ loop.length }}{{ loop.last }}{{ p.title[:3] }}{% endfor %}", "3FalseUSB3FalseUSB3TrueUSB"),
        ("{% for p in products if p.title.endswith('2 m') %}{{ p.title }}{% else %}none{% endfor %}", "USB-C cable 2 m"),
        ("{% macro m(x, n=1) %}<{{ x }}{{ n }}>{% endmacro %}{{ m('a') }}{{ m('b', n=2) }}", "<a1><b2>"),
        ("{% macro m() %}[{{ caller('x') }}]{% endmacro %}{% call(v) m() %}{{ v }}{{ locale }}{% endcall %}", "[xUK]"),
        ("{% set a %}{{ locale }}!{% endset %}{{ a * 2 }}{% set b | lower %}{{ a }}{% endset %}{{ b }}", "UK!UK!uk!"),
        ("{% filter upper %}a{{ locale }}b{% endfilter %}", "AUKB"),
        ("{% for a in [[1, [2]], [3]] recursive %}{% if a is iterable %}({{ loop(a) }}){% else %}{{ a }}{% endif %}{% endfor %}", "(1(2))(3)"),
        ("{% for k, v in words.items() %}{{ k }}={{ v }}{% endfor %}{{ words | dictsort }}", "next=Next:[('next', 'Next:')]"),
        ("{% for row in [1, 2, 3] | batch(2, 0) %}{{ row | join }};{% endfor %}{{ 'abc'[::-1] }}", "12;30;cba"),
        ("{% if 'UK' in ['UK'] and locale == 'UK' and products | length > 2 %}yes{% endif %}", "yes"),
        ("{{ products[0]['title'] | truncate(6, true, '…') }}{{ products[-1].brand | default('?') }}", "USB-C…Anker"),
        ("{{ 'a' ~ 1 ~ none ~ [2] }}{{ {'a': [1]} }}{{ true }}{{ 1.5 }}", "a1None[2]{'a': [1]}True1.5"),
        ("{{ [3, 1, 2] | sort | first }}{{ [1, 2] | sum }}{{ ' x ' | trim | center(5, ) }}", "13  x  "),
        ("{% with x = 1 %}{% block b scoped %}{{ x }}{{ loop is defined }}{% endblock %}{% endwith %}", "1False"),
        ("{% for a in 'ab' %}{{ loop.cycle('x', 'y') }}{{ loop.changed(a) }}{% endfor %}", "xTrueyTrue"),
    ],
)  # fmt: skip
def test_ordinary_templates_render_as_without_limits(template: str, text: str) -> None:
    assert rendered(template) == text
    assert ENVIRONMENT.plain.from_string(template).render(VALUES) == text


def test_long_titles_and_many_products_are_no_template_s_fault() -> None:
    long = [{"title": "x" * 1_000_000}] * 3
    templates = ["{{ products | map(attribute='title') | join(' || ') }}"]
    templates += [
        "{% for p in products %}{{ p.title | trim | upper }} {{ p.title[:9] }} {{ p.title ~ '!' }}{% endfor %}"
    ]
    for template in templates:
        assert len(rendered(template, products=long)) > 3_000_000
    many = [{"title": f"Title {number}"} for number in range(2_000)]
    text = rendered("{% for p in products %}{{ loop.index }}. {{ p.title | trim }}{% endfor %}", products=many)
    assert text.endswith("2000. Title 1999")


def test_shipped_prompts_pay_nothing() -> None:
    for name in prompt_names():
        prompt = load_prompt(name)
        assert is_tame(ENVIRONMENT.plain, prompt.template)
        assert is_tame(ENVIRONMENT.plain, prompt.system)


@pytest.mark.parametrize(
    "template",
    [
        "{{ products * 2 }}",
        "{{ products | list }}",
        "{{ products | join('ab') | join('cd') }}",
        "{{ products | join('ab') | upper | join('cd') }}",
        "{{ products[0].title | join('ab') }}",
        "{{ products | join(products[0].title) }}",
        "{{ products | join('" + "x" * 100 + "') }}",
        "{% for a in products %}{% for b in products %}{% endfor %}{% endfor %}",
        "{% for a in products %}{{ products }}{% endfor %}",
        "{% for a in products %}{% for b in a.title %}{% endfor %}{% endfor %}",
        "{% for a in products %}{% for b in [1] %}{% for c in [1] %}{% endfor %}{% endfor %}{% endfor %}",
        "{% for a in [" + "1," * 60 + "] %}{% endfor %}",
        "{{ products }}" * 9,
        "{% set a = 1 %}",
        "{% macro m() %}{% endmacro %}",
        "{{ products.index(1) }}",
        "{{ products[0].title[1:] }}",
    ],
)
def test_what_could_take_much_is_not_tame(template: str) -> None:
    assert not is_tame(ENVIRONMENT.plain, template)


def test_threads_have_their_own_accounts() -> None:
    template = compile_template(
        ENVIRONMENT, "{% for a in 'x' * n %}{% for b in 'y' * 100 %}{{ b * 1 }}{% endfor %}{% endfor %}"
    )
    barrier = threading.Barrier(4)

    def one(number: int) -> int:
        barrier.wait()
        try:
            return len(render(template, {"n": number}))
        except LimitError:
            return -1

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, [10, 100_000, 20, 100_000])) == [1000, -1, 2000, -1]


def mutated(prompt: Prompt, draw: random.Random) -> str:
    """A template with some of its pieces cut, doubled, swapped or replaced by what is dear."""
    dear = [
        "* 10**9",
        "| center(10**8)",
        "{% for x in products %}",
        "{% endfor %}",
        "~ products",
        "| batch(10**7) | list",
    ]
    dear += [
        "{{ loop.index * 10**9 }}",
        "| indent(10**7)",
        "| join('x' * 999999)",
        "9" * 20,
        "{{",
        "}}",
        "{%",
        "%}",
        "(",
    ]
    text = prompt.template
    for _ in range(draw.randint(1, 3)):
        start = draw.randrange(len(text) + 1)
        end = min(len(text), start + draw.choice((0, 1, 5, 20, 60)))
        mild = [
            text[start:end] * draw.choice((2, 3, 50)),
            draw.choice(string.ascii_letters),
            draw.choice(string.printable),
            "",
        ]
        piece = draw.choice(draw.choice((dear, mild, mild)))
        text = text[:start] + piece + text[draw.choice((start, end)) :]
    return text


def test_mutated_prompts_end() -> None:
    draw = random.Random(14)
    prompts = [load_prompt(name) for name in prompt_names()]
    before, slowest, ended = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, 0.0, 0
    for number in range(700):
        prompt = prompts[number % len(prompts)]
        changed = replace(prompt, template=mutated(prompt, draw), path=Path("own.yaml"))
        started = time.thread_time()
        with suppress(ConfigError):
            changed.render(PRODUCTS, "UK")
            ended += 1
        slowest = max(slowest, time.thread_time() - started)
    assert ended > 50
    assert slowest < 3
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < 200
