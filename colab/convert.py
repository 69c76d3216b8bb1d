"""Write the notebooks from their sources: python colab/convert.py

The source of NAME.ipynb is NAME.py, in jupytext's percent format. Nothing in a notebook is random, so that converting
again gives the same bytes.
"""

from pathlib import Path

import jupytext
import nbformat

HERE = Path(__file__).resolve().parent
SOURCES = tuple(path for path in sorted(HERE.glob("*.py")) if "# %%" in path.read_text().splitlines())


def notebook(source: Path) -> str:
    """Return the text of the notebook of a source, without outputs."""
    read = jupytext.read(source, fmt="py:percent")
    read.metadata.pop("jupytext", None)
    for index, cell in enumerate(read.cells):
        cell["id"] = f"{source.stem}-{index}"
    nbformat.validate(read)
    return nbformat.writes(read) + "\n"


if __name__ == "__main__":
    for path in SOURCES:
        path.with_suffix(".ipynb").write_text(notebook(path), encoding="utf-8")
