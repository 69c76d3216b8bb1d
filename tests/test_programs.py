"""What tests compile into a copy of the folder of programs is kept, unless it was cut short."""

import zlib

from tests import programs


def test_a_copy_begins_with_what_is_there_and_gives_back_what_is_whole(tmp_path):
    folder, copied = tmp_path / "folder", tmp_path / "copied"
    folder.mkdir()
    old, new = zlib.compress(b"old program"), zlib.compress(b"new program")
    (folder / "old-cache").write_bytes(old)
    programs.link(folder, copied)
    assert {path.name: path.read_bytes() for path in copied.iterdir()} == {"old-cache": old}
    (copied / "new-cache").write_bytes(new)
    (copied / "short-cache").write_bytes(new[:-1])
    assert [path.name for path in folder.iterdir()] == ["old-cache"]
    programs.keep(copied, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"old-cache": old, "new-cache": new}
