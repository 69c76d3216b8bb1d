"""A folder of texts."""

import pytest


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve short documents with characters of one to four bytes; the test split has some that no other has."""
    root = tmp_path_factory.mktemp("documents")
    (root / "inner").mkdir()
    for i in range(12):
        words = (f"{['née', 'étude', 'Wort', '🙂', 'word'][(i + j) % 5]}{j * i}" for j in range(3 + 5 * i))
        text = " ".join(words) + ".\n"
        (root / ("inner" if i % 2 else "") / f"{i:02}.txt").write_text(text, encoding="utf8")
    (root / ".hidden.txt").write_bytes(b"\xff")
    (root / "picture.png").write_bytes(b"\xff")
    return str(root)
