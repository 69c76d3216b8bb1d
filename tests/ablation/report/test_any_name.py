"""Every writer shows the same numbers, and any name as it is."""

import csv
import dataclasses
import io
import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from research.ablation.report import table
from research.ablation.report.formats.latex import escape as latex_escape
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.formats.spreadsheet import spreadsheet
from research.ablation.report.html.page import page
from tests.ablation.report.outcomes import BASELINE, BETTER, SAME, named

MARKS = "ab 1-+*_`~^\\|<>&$#%{}[]()!?'\",.:=/"
NAMES = (
    st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20) | st.text(st.sampled_from(MARKS), max_size=20)
).filter(str.strip)


class Reader(HTMLParser):
    """The texts of a page by tag, and whether tags are balanced."""

    def __init__(self):
        super().__init__()
        self.open, self.found, self.attributes = [], {}, []

    def handle_starttag(self, tag, attributes):
        self.attributes += attributes
        if tag not in ("meta", "br", "input"):
            self.open.append(tag)
            self.found.setdefault(tag, []).append("")

    def handle_startendtag(self, tag, attributes):
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open:
            self.found[self.open[-1]][-1] += data


@pytest.mark.fault("F28")
@given(NAMES)
@example("<script>alert(1)</script>")
@example("<b>&amp;\"'")
@example("{{ title }}{% raw %}{# a #}")
def test_html_shows_any_name(found, name):
    reader = Reader()
    reader.feed(page(named(found, name)))
    reader.close()
    assert not reader.open
    assert reader.found["h1"] == [name]
    assert reader.found["th"].count(name) == 2  # of the table and of the receipts
    labels = [value for key, value in reader.attributes if key == "aria-label"]
    assert sum(label.startswith(f"{name}: ") for label in labels) == 2  # of the forest plot and of the seeds
    assert f"the same experiment as {name}" in reader.found["small"]
    assert not [value for key, value in reader.attributes if key.startswith("on") or key in ("src", "href")]


@pytest.mark.fault("F28")
@given(NAMES)
@example("# a #")
@example("1. a")
@example("- a")
@example("12) a")
def test_markdown_shows_any_name(found, name):
    plain = " ".join(name.split())
    tokens = [
        token
        for token in MarkdownIt("commonmark").enable("table").parse(markdown(named(found, name)))
        if token.type == "inline"
    ]
    for token in tokens[:2]:  # heading and description
        assert {child.type for child in token.children} <= {"text"}
        assert "".join(child.content for child in token.children) == plain
    bold = [
        token for token in tokens if token.children and any(child.type == "strong_open" for child in token.children)
    ]
    assert "".join(child.content for child in bold[0].children) == plain
    assert {child.type for child in bold[0].children} <= {"strong_open", "text", "strong_close"}


LATEX = {
    r"\textbackslash{}": "\\",
    r"\textasciicircum{}": "^",
    r"\textasciitilde{}": "~",
    r"\textless{}": "<",
    r"\textgreater{}": ">",
    r"\textbar{}": "|",
    **{f"\\{character}": character for character in "&%$#_{}"},
    "$-$": "−",
    r"$\Delta$": "Δ",
    r"$\sigma$": "σ",
    r"$\lambda$": "λ",
    r"$\pm$": "±",
    "$^{6}$": "⁶",
}


def unescaped(text):
    """What LaTeX shows, for the commands that `escape` may use; anything else raises."""
    shown = ""
    while text:
        match = re.match("|".join(map(re.escape, LATEX)), text)
        if match:
            shown, text = shown + LATEX[match[0]], text[match.end() :]
        else:
            character, text = text[0], text[1:]
            assert character not in "\\&%$#_^~<>|"
            shown += "" if character in "{}" else character
    return shown


@pytest.mark.fault("F28")
@example("a--b''c,,d")
@given(st.text(st.sampled_from(MARKS + "éΔσλ±−⁶"), max_size=20))
def test_latex_shows_any_name(text):
    plain = " ".join(text.split())
    escaped = latex_escape(text)
    assert unescaped(escaped) == plain
    assert not escaped.startswith(("[", "*"))  # after \\ they would be its own
    assert not re.search("--|''|,,|[?!]`", escaped)  # ligatures


@given(st.characters())
def test_latex_has_a_glyph_for_all_it_writes(character):
    assert re.fullmatch(r"[ -~¡-ſ]*", latex_escape(character))


@given(NAMES)
def test_latex_is_balanced(found, name):
    text = latex(named(found, name))
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    rows = body.removesuffix("\\\\\n").split("\\\\\n")
    columns = text.split("\\begin{tabular}{@{}")[1].split("@{}}\n")[0].replace(r"p{0.24\linewidth}", "l")
    assert [len(re.findall(r"(?<!\\)(?:\\\\)*&", row)) + 1 for row in rows] == [len(columns)] * 2
    bare = re.sub(r"\\[\\{}]", "", text.partition("\n")[2])
    assert bare.count("{") == bare.count("}")


@given(NAMES)
def test_csv_keeps_any_name(found, name):
    (_, row) = csv.DictReader(io.StringIO(spreadsheet(named(found, name)), newline=""))
    shown = f"'{name}" if name.lstrip()[0] in "=+-@" else name  # see `test_no_text_in_a_spreadsheet_is_a_formula`
    assert (row["variant"], row["aliases"], row["tuned"]) == (shown, shown, shown)


@pytest.mark.fault("F28")
@pytest.mark.parametrize("name", ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1,1)", "\t=1", "\r=1", "=1\n=2"])
def test_no_text_in_a_spreadsheet_is_a_formula(name, make):
    """Names, what they are tuned to, errors and circumstances; numbers stay numbers, also negative ones."""
    found = named(table(*make(BASELINE, SAME), name), name)
    receipt = dataclasses.replace(found.rows[1].receipts[0], commits=(name,), devices=(name,), overrides={name: name})
    found = dataclasses.replace(found, rows=(found.rows[0], dataclasses.replace(found.rows[1], receipts=(receipt,))))
    lines = list(csv.reader(io.StringIO(spreadsheet(found), newline="")))
    for text in (text for line in lines for text in line):
        if text.lstrip()[:1] in ("=", "+", "-", "@"):
            float(text)
    row = dict(zip(lines[0], lines[2], strict=True))
    assert row["variant"] == row["commit"] == row["tuned"] == "'" + name.replace("\r", " ")
    assert float(row["test.accuracy.difference_low"]) < 0


def test_csv_reads_back_equal(make):
    found = table(*make(BASELINE, BETTER, ("diverged", 1 / 3, 0.1 + 0.2, "failed"), margin=0.1), "t")
    read = csv.DictReader(io.StringIO(spreadsheet(found)))
    for row, line in zip(found.rows, read, strict=True):
        entry, comparison = row.entries[0], row.entries[0].comparison
        expected = {
            "mean": entry.mean,
            "low": entry.interval.low,
            "difference_sd": entry.difference_sd,
            "holm_t_p": entry.holm_t_p,
            "holm_permutation_p": entry.holm_permutation_p,
            "variance_ratio": entry.variance_ratio,
            "difference": comparison.difference if comparison else math.nan,
            "difference_high": comparison.interval.high if comparison else math.nan,
            "t_p": comparison.t_p if comparison else math.nan,
            "effect": comparison.effect if comparison else math.nan,
            "correlation": comparison.correlation if comparison else math.nan,
            **{f"seed_{seed}": entry.values.get(seed, math.nan) for seed in range(4)},
        }
        numbers = {name: float(line[f"test.accuracy.{name}"] or "nan") for name in expected}
        np.testing.assert_array_equal(list(numbers.values()), list(expected.values()))  # NaN equals NaN
        assert line["test.accuracy.marked"] == str(entry.marked)
        assert int(line["test.accuracy.diverged"]) == len(entry.diverged)
        assert (line["fingerprint"], line["mode"], line["commit"]) == (row.receipts[0].fingerprint, "vmap", "c0ffee")
        assert line["overrides"] == "; ".join(f"{k}={v}" for k, v in row.receipts[0].overrides.items())
