"""Chats as the text that a model was trained on: the chat template of a published folder."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from research.errors import UsageError
from research.interchange import locate, read_tokenizer_configuration

SECONDS = 2
"""Of computing that a template may take, the start of its process included."""
PATIENCE = 60
"""Seconds after which a machine that has no time for that process is given up."""
BYTES = 2**29
"""Of memory that it may have."""
LONGEST = 1_000_000
"""Characters that it may write."""
WORDS = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclasses.dataclass(frozen=True)
class Template:
    """A chat template, and the words for special tokens that it may use."""

    text: str
    words: Mapping[str, str] = dataclasses.field(default_factory=dict)


def read_template(source: str | Path, revision: str | None = None) -> Template:
    """Return the chat template of a folder: chat_template.jinja, else "chat_template" of tokenizer_config.json.

    That of a GGUF file is among its entries.

    Of several by name it is the one called "default".

    Raises:
        UsageError: there is none, or a file is damaged.
    """
    said = read_tokenizer_configuration(locate(source, revision).path)
    found = said.get("chat_template")
    if isinstance(found, list):
        named = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}
        found = named.get("default")
    if not isinstance(found, str):
        raise UsageError(f"{source} has no chat template: leave --chat out, and write the prompt as the model knows it")
    words = {name: said.get(name) for name in WORDS}
    texts = {name: word.get("content") if isinstance(word, dict) else word for name, word in words.items()}
    return Template(found, {name: text for name, text in texts.items() if isinstance(text, str)})


def render(template: Template, messages: Sequence[Mapping[str, str]], seconds: int = SECONDS) -> str:
    """Return the text of messages, each with `role` and `content`, up to where the model's answer begins.

    The template is rendered in Jinja2's sandbox, in a process of its own with little time and memory: it comes from
    whoever published the folder.

    Raises:
        UsageError: the template is wrong, refuses the messages, or asks for too much.
    """
    asked = {
        "template": template.text,
        "variables": {**template.words, "messages": list(messages), "add_generation_prompt": True},
        "seconds": seconds,
        "bytes": BYTES,
        "longest": LONGEST,
    }
    command = [sys.executable, "-P", str(Path(__file__).with_name("sandbox.py"))]
    try:
        done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        raise UsageError(f"the chat template is not rendered after {PATIENCE} seconds") from None
    if done.returncode:
        raise UsageError(f"the chat template takes more than {seconds} seconds of computing, or ends its process")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise UsageError(f"the chat template cannot be rendered: {answer['error']}")
    return answer["text"]
