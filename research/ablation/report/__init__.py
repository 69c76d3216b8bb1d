"""What a study found: its table, and the report as Markdown, CSV, LaTeX, HTML and a picture.

report_on("runs/study")                     # writes them, and is shown by a notebook
found, curves = tabulate(store)             # the numbers alone
write_report("report", found, [curves])
"""

from research.ablation.report.captions import caption, doubtful, findings, minimum_seeds_sentence, notes
from research.ablation.report.entries import Column, Entry, Receipt, ReportTable, Row, Verdict
from research.ablation.report.learning_curves import Curve, Curves, curves
from research.ablation.report.tables import merge, table
from research.ablation.report.writing import StudyReport, report_on, tabulate, write_report

__all__ = [
    "Column",
    "Curve",
    "Curves",
    "Entry",
    "Receipt",
    "ReportTable",
    "Row",
    "StudyReport",
    "Verdict",
    "caption",
    "curves",
    "doubtful",
    "findings",
    "merge",
    "minimum_seeds_sentence",
    "notes",
    "report_on",
    "table",
    "tabulate",
    "write_report",
]
