"""A chat template is a model's own: rendered as transformers does, but it ends."""

from __future__ import annotations

import time

import pytest

from llmrec.errors import ConfigError
from llmrec.titles.prompting.affixes import MARK, _in_chat, build_affixes
from tests.titles.tiny_llm import CHAT, bpe_tokenizer

LLAMA = (
    "{{- bos_token }}{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}"
    "{%- if messages[0]['role'] == 'system' %}{%- set system = messages[0]['content'] | trim %}"
    "{%- set messages = messages[1:] %}{%- else %}{%- set system = '' %}{%- endif %}"
    "{{- '<|start|>system\\nToday: ' + date_string + '\\n' + system + '<|end|>' }}"
    "{%- for message in messages %}{%- if not (message.role == 'ipython' or message.role == 'tool') %}"
    "{{- '<|start|>' + message['role'] + '\\n' + message['content'] | trim + '<|end|>' }}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}{%- endif %}"
)
QWEN = (
    "{%- if tools %}{{- tools | tojson }}{%- endif %}"
    "{%- set ns = namespace(multi_step_tool=true, last=messages | length - 1) %}"
    "{%- for message in messages[::-1] %}{%- set index = (messages | length - 1) - loop.index0 %}"
    "{%- if ns.multi_step_tool and message.role == 'user' and message.content is string"
    " and not (message.content.startswith('<tool>') and message.content.endswith('</tool>')) %}"
    "{%- set ns.multi_step_tool = false %}{%- set ns.last = index %}{%- endif %}{%- endfor %}"
    "{%- for message in messages %}{%- if message.role not in ['user', 'system'] %}"
    "{{ raise_exception('roles') }}{%- endif %}"
    "{{- '<|start|>' + message.role + '\\n' + message.content + '<|end|>\\n' }}{%- endfor %}"
    "{%- for i in range(1) %}{%- generation %}{%- endgeneration %}{%- if i == 0 %}{%- break %}{%- endif %}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|start|>assistant\\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}"
    "{%- endif %}"
)


@pytest.mark.parametrize("template", [CHAT, LLAMA, QWEN], ids=["tiny", "llama", "qwen"])
def test_a_template_renders_as_transformers_renders_it(template: str) -> None:
    tokenizer = bpe_tokenizer(["a title"])
    tokenizer.chat_template = template
    turn = [{"role": "user", "content": MARK}]
    theirs = tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert _in_chat(tokenizer, ()) == theirs


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10**9 }}",
        "{{ 'x' | center(1000000000) }}",
        "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
        "{% set n = namespace(s='x') %}{% for a in range(90) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
        "{% set n = namespace(a=1) %}{% for a in range(90) %}{% set n.a = [n.a, n.a] %}{% endfor %}{{ n.a }}",
        "{{ range(99999) | list * 999 }}",
        "{{ lipsum(99999) }}",
        "{{ raise_exception('no') }}",
        "{% for",
    ],
)
def test_a_template_that_takes_too_much_is_one_line(template: str) -> None:
    tokenizer = bpe_tokenizer(["a title"])
    tokenizer.chat_template = template
    started = time.thread_time()
    with pytest.raises(ConfigError, match=r"--chat: this model's chat template fails \(.*\); say --no-chat"):
        build_affixes(tokenizer, chat=True)
    assert time.thread_time() - started < 3
