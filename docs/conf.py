"""How `make docs` builds the site: pages in Markdown, the reference from docstrings. Nothing is trained."""

import dataclasses
import importlib
import re
import tomllib
from pathlib import Path
from typing import Any

from research.fields import annotations, describe

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REPOSITORY = PROJECT["urls"]["Repository"]

project, author, release = "Ceteris", "The Ceteris authors", PROJECT["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "sphinx_book_theme"
html_title = "Ceteris"
html_theme_options = {
    "repository_url": REPOSITORY,
    "use_repository_button": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the sidebar has the search
}
html_static_path = html_css_files = ["style.css"]
myst_heading_anchors = 4
default_role = "code"  # docstrings are plain text with `code` in it
autodoc_member_order = "bysource"
autodoc_typehints = "none"
python_display_short_literal_types = True
toc_object_entries_show_parents = "hide"
nitpick_ignore_regex = [("py:.*", ".*")]  # docstrings name classes of other libraries


def link_to_repository(app: Any, name: str, source: list[str]) -> None:
    """Have relative links that leave docs/ lead to the repository; pictures are taken along."""
    source[0] = re.sub(r"(?<!!)(\[[^\]]*\])\(\.\./([^)]*)\)", rf"\1({REPOSITORY}/blob/main/\2)", source[0])


def describe_field(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Begin the description of a field with its type in words; of packages the page has words of its own."""
    lines[:] = [] if what == "module" else [line.replace("|", r"\|") for line in lines]  # |w| is no substitution
    if what == "attribute":
        path, _, field = name.rpartition(".")
        module, _, owner = path.rpartition(".")
        holder = getattr(importlib.import_module(module), owner, None)
        known = dataclasses.is_dataclass(holder) and field in annotations(holder)
        # Whatever it is, a first line: Napoleon takes words before a colon there for a type.
        lines.insert(0, f"*{describe(annotations(holder)[field])}*." if known else "")


def leave_out_signature(app: Any, what: str, *_: Any) -> tuple[str, None] | None:
    """Show no signature of a class: its fields follow, each with type, default and meaning."""
    return ("", None) if what == "class" else None


def setup(app: Any) -> None:
    """Connect all of them."""
    app.connect("source-read", link_to_repository)
    app.connect("autodoc-process-docstring", describe_field, priority=100)  # before Napoleon
    app.connect("autodoc-process-signature", leave_out_signature)
