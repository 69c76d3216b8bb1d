"""Damaged data is named, file and line or record, in one sentence; nothing is left out without a word."""

import io
import shutil
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from research.data import Images, Table, files
from research.data.images import image_files
from research.data.storage.folders import read_files
from research.errors import RunError, UsageError

CSV = b"a,b,target\n" + b"".join(b"%d,%d.5,%d\n" % (i, i * 3 % 7, i % 5) for i in range(23))


def refused(action):
    """The one sentence that an action is refused with."""
    with pytest.raises(UsageError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def numbers(path):
    """Every column of a file, read anew."""
    files._read.cache_clear()
    return {name: files.numbers(str(path), name) for name in files.names(str(path))}


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"1,2", "line 25: 2 cells where the header has 3"),
        (b"1,2,3,4", "line 25: 4 cells where the header has 3"),
        (b"1,\xff,3", "line 25: this is not UTF-8 text"),
        (b"1,\0,3", 'line 25, column "b": "\0" is not a finite number'),
        (b"1,1e999,3", 'line 25, column "b": "1e999" is not a finite number'),
        (b"1,-inf,3", 'line 25, column "b": "-inf" is not a finite number'),
        (b"1,1e39,3", 'line 25, column "b": "1e39" is not a finite number'),
        (b"1,0x10,3", 'line 25, column "b": "0x10" is not a finite number'),
        (b"1," + b"9" * 200_000 + b",3", "line 25: this is not comma-separated text: field larger"),
        (b'1,"2"x,3', "line 25: this is not comma-separated text"),
        (b'1,"2,3', "line 25: this is not comma-separated text: unexpected end of data"),
        (b"\n1,2,3", "line 25: 1 cells where the header has 3"),
    ],
)
def test_a_damaged_line_is_named(line, said, tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(CSV + line + b"\n")
    assert f"{path}, {said}" in refused(lambda: Table(str(path), features=2).open("train"))


@pytest.mark.fault("F29")
@given(st.binary(max_size=60))
@example(b"\xef\xbb\xbfa\n1\n")
@example(b"\xff\xfea\0\n\0")
@example(b'"')
def test_any_bytes_are_a_table_or_one_sentence(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(content)
    try:
        columns = numbers(path)
    except UsageError as error:
        assert str(path) in str(error)
    else:
        rows = len(content.decode("utf-8-sig").splitlines())
        assert all(0 < len(column) <= rows for column in columns.values())


def array(header, body=b""):
    """A file as NumPy writes it, with another header."""
    text = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def of_shape(shape, dtype="<f8"):
    return array(f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}", bytes(8))


@pytest.mark.fault("F26", "F29")
@pytest.mark.parametrize(
    "content",
    [
        of_shape(f"({10**13},)"),
        of_shape(f"({10**30},)"),
        of_shape("(-3,)"),
        of_shape("(4294967296, 4294967296, 4)"),
        of_shape(f"({'1, ' * 70})"),
        of_shape("(2,)"),
        of_shape("(1,)", "zzz"),
        array("(" * 9000),
        array("__import__('os').abort()"),
        b"\x93NUMPY\x09\x00",
        b"text",
        b"",
    ],
    ids=lambda content: repr(content[10:60]),
)
def test_a_lying_array_is_refused(content, tmp_path):
    import zipfile

    path = tmp_path / "t.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", content)
    said = refused(lambda: numbers(path))
    assert str(path) in said and ("more than there is memory for" in said) == (f"({10**13},)".encode() in content)


@pytest.mark.fault("F29")
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4))
def test_a_damaged_file_of_arrays_is_refused_or_harmless(tmp_path_factory, place, noise):
    """Every member has a check sum: what is read in spite of damage is what was written."""
    path, written = tmp_path_factory.getbasetemp() / "any.npz", io.BytesIO()
    np.savez(written, features=np.arange(21.0).reshape(7, 3), target=np.arange(7))
    whole = written.getvalue()
    place %= len(whole)
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    try:
        found = numbers(path)
    except UsageError as error:
        assert str(path) in str(error)
    else:
        for name, values in {"features": np.arange(21.0).reshape(7, 3), "target": np.arange(7.0)}.items():
            assert name not in found or np.array_equal(found[name], values)


@pytest.mark.fault("F29")
@pytest.mark.parametrize("content", [b"\xff", b"a\0b\n", b"a" * 50 + b"\xc3"])
def test_a_damaged_text_is_named(content, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    if b"\0" in content:  # a character like any other
        assert read_files(str(tmp_path))[0].text == "a\0b\n"
    else:
        assert f"{tmp_path / 'a.txt'} is not UTF-8 at byte" in refused(lambda: read_files(str(tmp_path)))


PIXELS = np.random.default_rng(0).integers(0, 256, (13, 11, 3), np.uint8)


def image(form):
    file = io.BytesIO()
    Image.fromarray(PIXELS).save(file, form)
    return file.getvalue()


IMAGES = {form: image(form) for form in ("PNG", "JPEG", "BMP", "GIF", "TIFF")}


def bomb(side=60_000):
    """A PNG of a few kilobytes that says it is thousands of millions of pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")


@pytest.mark.fault("F29")
@pytest.mark.parametrize("form", IMAGES)
def test_a_truncated_image_is_named_wherever_it_ends(form, tmp_path):
    """No pixels are made up; the end mark of a format, after all pixels, may be missing."""
    path, whole = tmp_path / "a.png", IMAGES[form]
    path.write_bytes(whole)
    expected = image_files.decode(path)
    for length in [*range(0, len(whole) - 12, 31), len(whole) // 2]:
        path.write_bytes(whole[:length])
        try:
            found = image_files.decode(path)
        except UsageError as error:
            assert str(error) == f"{path} is damaged, or is not an image; replace or remove it"
        else:
            np.testing.assert_array_equal(found, expected)


@pytest.mark.fault("F29")
def test_an_image_that_would_fill_the_memory_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bomb())
    for read in (image_files.shape, image_files.decode):
        assert str(path) in refused(lambda read=read: read(path))


@pytest.mark.fault("F29")
def test_images_are_what_is_in_them_and_of_the_known_kinds(tmp_path):
    """A JPEG that is called .png is read as one; what Pillow would hand to another program, or is no image, is not."""
    path = tmp_path / "a.png"
    path.write_bytes(IMAGES["JPEG"])
    np.testing.assert_array_equal(image_files.decode(path), np.asarray(Image.open(io.BytesIO(IMAGES["JPEG"]))))
    for form in ("EPS", "PPM", "SGI", "TGA"):
        Image.fromarray(PIXELS).save(path, form)
        assert "is not an image" in refused(lambda: image_files.decode(path))
    path.write_bytes(b"label,text\n")
    assert "is not an image" in refused(lambda: image_files.decode(path))


@pytest.mark.fault("F29")
@given(st.sampled_from(sorted(IMAGES)), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
def test_any_damage_of_an_image_gives_an_image_or_one_sentence(tmp_path_factory, form, place, noise):
    path, whole = tmp_path_factory.getbasetemp() / "any.png", IMAGES[form]
    place %= len(whole)
    path.write_bytes(whole[:place] + noise + whole[place + len(noise) :])
    try:
        assert image_files.decode(path).dtype == np.uint8
    except UsageError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)


@pytest.mark.fault("F29")
def test_flipped_bits_of_prepared_records_are_found(data_dir, tmp_path):
    """Twenty, anywhere in a file: the records are as they were, or refused; none is another one."""
    good = Images("digits").open("test", data_dir).arrays()
    folder = shutil.copytree(data_dir, tmp_path / "copy")
    (file,) = folder.glob("digits/*/digits-test*")
    whole, generator, found = file.read_bytes(), np.random.default_rng(0), []
    for place in generator.integers(0, len(whole), 20):
        changed = bytearray(whole)
        changed[place] ^= 1 << int(generator.integers(8))
        file.write_bytes(changed)
        try:
            arrays = Images("digits").open("test", str(folder)).arrays()
        except RunError as error:
            found.append(str(error))
        else:
            assert all(np.array_equal(arrays[name], good[name]) for name in good)
    assert len(found) > 4 and all("damaged" in said and "\n" not in said for said in found)
    assert any("at example" in said for said in found)
