import numpy as np
import pytest

from research.data.splits import Split
from research.data.storage import folders
from research.data.storage.folders import read_files, split_texts, whole

SPLITS = Split.__args__


@pytest.mark.parametrize("count", [1, 3, 13])
@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_files_are_split_as_their_texts_are(count, block, tmp_path, monkeypatch):
    """Characters have one to four bytes, lines end as anywhere, one file is empty and one is there twice."""
    generator = np.random.default_rng(count)
    texts = [
        "".join(generator.choice(["a", "é", "日", "🙂", " ", "\n", "\r\n", "\r", "\ufeff"], 200 + 9 * i))
        for i in range(count)
    ]
    texts += ["", texts[0]]
    for i, text in enumerate(texts):
        (tmp_path / f"{i:02}.txt").write_bytes(text.encode())
    monkeypatch.setattr(folders, "_BLOCK", block)
    files = read_files(str(tmp_path))
    assert [file.text for file in files] == texts and [len(file) for file in files] == list(map(len, texts))
    for split in SPLITS:
        found = split_texts(files, split, "folder")
        assert tuple(map(whole, found)) == split_texts(texts, split, "folder")
        assert all("".join(folders.blocks(each + "\n\n")) == whole(each) + "\n\n" for each in found)


def test_a_byte_that_is_no_text_is_counted_from_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_BLOCK", 5)
    for place, content in ((9, "a日é日".encode() + b"\xff"), (4, "a日".encode() + b"\xe6\x97"), (0, b"\xe6")):
        (tmp_path / "a.txt").write_bytes(content)
        with pytest.raises(folders.UsageError, match=f"a.txt is not UTF-8 at byte {place};"):
            read_files(str(tmp_path))


@pytest.mark.fault("F29")
def test_all_files_that_are_no_text_are_named_at_once(tmp_path):
    for name, content in (("a.txt", b"\xff"), ("b.txt", b"text"), ("c.md", b"t\xff")):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(folders.UsageError) as caught:
        read_files(str(tmp_path))
    said = [
        f"{tmp_path}/{name} is not UTF-8 at byte {at}; convert or remove it" for name, at in (("a.txt", 0), ("c.md", 1))
    ]
    assert str(caught.value).splitlines() == ["2 texts cannot be used:", *(f"  {line}" for line in said)]
