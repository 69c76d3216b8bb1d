"""A table as LaTeX, for `booktabs`."""

import unicodedata
from collections.abc import Iterator

from research.ablation.report.captions import caption
from research.ablation.report.entries import ReportTable
from research.ablation.report.layout import Item, TextTable, layout

COMMANDS = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": "{`}",  # else ?` is ¿
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\rightarrow$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "≠": r"$\neq$",
    "≈": r"$\approx$",
    "∞": r"$\infty$",
    "·": r"$\cdot$",
    "†": r"$\dagger$",
    "–": "--",
    "—": "---",
    **{name: f"$^{{{digit}}}$" for name, digit in zip("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789", strict=True)},
    **{
        unicodedata.lookup(f"GREEK {case} LETTER {name.upper().replace('LAMBDA', 'LAMDA')}"): (
            f"$\\{name if case == 'SMALL' else name.title()}$"
        )
        for case, names in (
            ("SMALL", "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau"),
            ("SMALL", "upsilon phi chi psi omega"),
            ("CAPITAL", "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"),
        )
        for name in names.split()
    },
}

LEFT_OUT = ("verdict", "parameters", "seconds")


def escape(text: str) -> str:
    """Return text that any LaTeX sets as it is, on one line.

    Letters of the Latin alphabet stay, with their accents; a character that pdfLaTeX has no glyph for becomes its
    number, as (U+4E2D).
    """
    text = " ".join(text.split())
    joined = "".join(
        ("{}" if character in "-,'" and before == character else "") + _character(character)  # else -- is a dash
        for before, character in zip(" " + text, text, strict=False)
    )
    begins_option = joined.startswith(("[", "*"))  # it would belong to the \\ before it
    return f"{{{joined[0]}}}{joined[1:]}" if begins_option else joined


def latex(table: ReportTable) -> str:
    """Return a `table` environment with the caption; it needs `\\usepackage{booktabs}`.

    It has the columns that a paper has; verdicts are its bold type, parameters and seconds are in the CSV.
    """
    whole = layout(table)
    kept = [index for index, heading in enumerate(whole.headings) if heading.text not in LEFT_OUT]
    shown = TextTable(
        tuple(whole.headings[index] for index in kept), tuple(tuple(row[index] for index in kept) for row in whole.rows)
    )
    return "\n".join(_lines(table, shown)) + "\n"


def _lines(table: ReportTable, shown: TextTable) -> Iterator[str]:
    """Yield the lines of the environment."""
    yield "% needs \\usepackage{booktabs}"
    yield r"\begin{table}"
    yield r"\centering\small"
    yield r"\setlength{\tabcolsep}{4pt}"
    name = r"p{0.24\linewidth}" if max(len(items[0].text) for items in shown.rows) > 32 else "l"
    yield rf"\begin{{tabular}}{{@{{}}{name}{'r' * (len(shown.headings) - 1)}@{{}}}}"
    yield r"\toprule"
    groups = list(shown.groups())
    if any(name for name, _, _ in groups):
        yield (
            " & ".join(
                rf"\multicolumn{{{last - first + 1}}}{{{'c' if name else 'l'}}}{{{escape(name)}}}"
                for name, first, last in groups
            )
            + r" \\"
        )
        yield "".join(rf"\cmidrule(lr){{{first + 1}-{last + 1}}}" for name, first, last in groups if name)
    yield " & ".join(escape(heading.text) for heading in shown.headings) + r" \\"
    yield r"\midrule"
    for index, items in enumerate(shown.rows):
        if index == len(table.rows):  # below are simple baselines
            yield r"\midrule"
        yield " & ".join(map(_item, items)) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"
    title = f"{escape(table.title)}. " if table.title else ""
    sentences = "\n".join(map(escape, caption(table)))
    yield rf"\caption{{{title}{sentences}}}"
    yield r"\end{table}"


def _item(item: Item) -> str:
    """Return an item, bold where it is a claim."""
    return rf"\textbf{{{escape(item.text)}}}" if item.marked else escape(item.text)


def _character(character: str) -> str:
    """Return one character for LaTeX."""
    if character in COMMANDS:
        return COMMANDS[character]
    if character.isascii():
        return character if character.isprintable() else " "
    if character <= "ſ" and character.isalpha():
        return character
    return f"(U+{ord(character):04X})"
