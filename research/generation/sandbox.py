"""Renders a chat template that nobody has read, in a process of its own. `chat` runs this file; nothing imports it.

Jinja2's sandbox keeps a template from Python's objects and from the files and programs behind them, but not from asking
for any amount of time and memory: `'a' * 10**9` is one operation. The limits of a process stop what no interpreter can.
Reads one JSON object from standard input; writes one with `text`, or with `error`, a sentence.
"""

import datetime
import json
import resource
import sys
from collections.abc import Mapping
from typing import Any

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment


def raise_exception(message: str) -> None:
    """Refuse the messages, as templates do that want a user's turn first."""
    raise jinja2.TemplateError(message)


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Return JSON that is not escaped for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format: str) -> str:
    """Return today's date."""
    return datetime.datetime.now().strftime(format)


def rendered(template: str, variables: Mapping[str, Any], longest: int) -> str:
    """Return the text of a template, with the settings and functions that transformers has."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {"raise_exception": raise_exception, "strftime_now": strftime_now}
    text = ""
    for part in environment.from_string(template).generate(**variables):
        text += part
        if len(text) > longest:
            raise jinja2.TemplateError(f"it writes more than {longest:,} characters")
    return text


def main() -> None:
    """Answer on standard output."""
    asked = json.loads(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"], asked["seconds"]))
    resource.setrlimit(resource.RLIMIT_AS, (asked["bytes"], asked["bytes"]))
    try:
        answer = {"text": rendered(asked["template"], asked["variables"], asked["longest"])}
    except MemoryError:
        answer = {"error": f"it asks for more than {asked['bytes'] >> 20:,} MiB of memory"}
    except RecursionError:
        answer = {"error": "it calls itself without an end"}
    except Exception as error:  # whatever a template can make Python raise
        answer = {"error": " ".join(str(error).split())[:300] or type(error).__name__}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
