"""A chat template comes from whoever published a model: it writes a text, and can do nothing else."""

import json

import pytest

from research.errors import UsageError
from research.generation.chat import Template, read_template, render

MESSAGES = [{"role": "system", "content": "be <b>"}, {"role": "user", "content": "Hi"}]


def test_a_template_is_rendered_as_transformers_does():
    """Blocks leave no lines behind; JSON is not escaped; loops may break; what is not there is empty."""
    text = (
        "{{ bos_token }}{{ nothing }}\n"
        "{% for message in messages %}\n"
        "    {% if loop.index0 > 1 %}{% break %}{% endif %}\n"
        "<|{{ message['role'] }}|>{{ message.content | trim }}{{ eos_token }}\n"
        "{% endfor %}\n"
        "{{ messages[0] | tojson }}{{ strftime_now('%%') }}\n"
        "{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    expected = '<s>\n<|system|>be <b></s>\n<|user|>Hi</s>\n{"role": "system", "content": "be <b>"}%\n<|assistant|>'
    assert render(Template(text, {"bos_token": "<s>", "eos_token": "</s>"}), MESSAGES) == expected


HOSTILE = {
    "{{ messages.__class__.__mro__ }}": "access to attribute '__class__' of 'list' object is unsafe",
    "{{ cycler.__init__.__globals__.os.system('id') }}": "access to attribute '__init__' of 'type' object is unsafe",
    "{{ messages.append(1) }}": "access to attribute 'append' of 'list' object is unsafe",
    "{{ raise_exception('no system turn') }}": "cannot be rendered: no system turn",
    "{% include '/etc/passwd' %}": "cannot be rendered: no loader",
    "{% if %}": "cannot be rendered: Expected an expression",
    "{% for i in range(10**9) %}{% endfor %}": "Range too big",
    "{{ 'a' * 10**9 }}": "more than 512 MiB of memory",
    "{{ 'a' | center(10**9) }}": "more than 512 MiB of memory",
    "{% for i in range(2000) %}{{ 'a' * 999 }}{% endfor %}": "it writes more than 1,000,000 characters",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}": "it calls itself without an end",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}": "more than 1 seconds",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}": "more than 1 seconds",
    "{{ 10 ** (10 ** 10) }}": "",
    "{{ " + 20_000 * "(": "",
}
"""What is said, where it is not the business of an interpreter's version."""


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_template_is_refused_in_a_sentence(text):
    with pytest.raises(UsageError, match="^the chat template ") as refused:
        render(Template(text), MESSAGES, seconds=1)
    assert HOSTILE[text] in str(refused.value) and len(str(refused.value)) < 400 and "\n" not in str(refused.value)


def test_where_a_template_is(tmp_path):
    with pytest.raises(UsageError, match="has no chat template"):
        read_template(tmp_path)
    said = {"bos_token": {"content": "<s>", "lstrip": False}, "eos_token": None, "chat_template": "one"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    assert read_template(tmp_path) == Template("one", {"bos_token": "<s>"})
    several = [{"name": "tool_use", "template": "two"}, {"name": "default", "template": "three"}, "four"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": several}))
    assert read_template(tmp_path).text == "three"
    (tmp_path / "chat_template.jinja").write_text("five")
    assert read_template(tmp_path).text == "five"
