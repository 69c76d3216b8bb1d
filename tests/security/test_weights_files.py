"""Files of weights that say what is not so: refused in one sentence, in little memory, and never as another array."""

import io
import json
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from research.errors import UsageError
from research.interchange.files import read_tensors
from research.interchange.torch_files import read_torch
from tests.interchange.test_torch_files import MATRIX, archive, dictionary, literal, sequence, tensor

BODY = np.arange(12, dtype=np.float32)
SIZES = {"F64": 8, "F32": 4, "I32": 4, "F16": 2, "I8": 1, "BOOL": 1}
TYPES = {"F64": np.float64, "F32": np.float32, "I32": np.int32, "F16": np.float16, "I8": np.int8, "BOOL": np.bool_}


def file(header, body=BODY.tobytes(), length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(start, stop, dtype="F32", shape=None):
    return {"dtype": dtype, "shape": [(stop - start) // 4] if shape is None else shape, "data_offsets": [start, stop]}


def double(name="a", first="F32", second="I32"):
    """A header in which a name is there twice, with numbers of another type."""
    both = (json.dumps({name: entry(0, 48, dtype)})[1:-1] for dtype in (first, second))
    return f"{{{', '.join(both)}}}".encode()


LYING = {
    "more than the file": file({"a": entry(0, 48)}, length=10**6),
    "more than any file": file({}, length=2**63),
    "all": file({}, length=2**64 - 1),
    "overlapping": file({"a": entry(0, 32), "b": entry(16, 48)}),
    "one place": file({"a": entry(0, 48), "b": entry(0, 48)}),
    "twice": file(double()),
    "metadata twice": file(b'{"__metadata__": {"a": "1", "a": "2"}, ' + json.dumps({"a": entry(0, 48)})[1:].encode()),
    "negative": file({"a": entry(-48, 0)}),
    "backwards": file({"a": entry(48, 0, shape=[0])}),
    "a gap": file({"a": entry(0, 16), "b": entry(32, 48)}),
    "not all": file({"a": entry(0, 16)}),
    "beyond": file({"a": entry(0, 480)}),
    "bytes after": file({"a": entry(0, 48)}) + b"x",
    "another type": file({"a": entry(0, 48, "F64", [12])}),
    "no type": file({"a": entry(0, 48, "NaN")}),
    "an 8-bit float": file({"a": entry(0, 48, "F8_E4M3", [48])}),
    "NaN": file(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 48]}}'),
    "infinite": file(b'{"a": {"dtype": "F32", "shape": [12], "data_offsets": [0, Infinity]}}'),
    "half a number": file({"a": entry(0, 48, shape=[12.0])}),
    "a great shape": file({"a": entry(0, 48, shape=[2**62, 4, 12])}),
    "a great empty shape": file({"a": entry(0, 0, shape=[2**33, 2**33, 0])}, b""),
    "many axes": file({"a": entry(0, 0, shape=[0] * 100_000)}, b""),
    "ones": file({"a": entry(0, 4, shape=[1] * 100)}, b"1234"),
    "objects in objects": file(b'{"a":' * 100_000),
    "lists in lists": file(b"[" * 100_000),
    "no UTF-8": file(b'{"\xff\xfe": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]}}'),
    "metadata of numbers": file({"__metadata__": {"a": 3}, "a": entry(0, 48)}),
    "a list": file([]),
    "nothing": b"",
}


def measured(path, content):
    """The tensors of a file, or what is said of it, and the memory that reading took at most."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        found = read_tensors(path)[0]
    except UsageError as error:
        found = str(error)
        assert "\n" not in found and path.name in found
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found, peak


@pytest.mark.fault("F26")
@pytest.mark.parametrize("kind", LYING)
def test_a_lying_header_is_refused(kind, tmp_path):
    found, peak = measured(tmp_path / "a.safetensors", LYING[kind])
    assert isinstance(found, str), found
    assert peak < 10 * len(LYING[kind]) + 2**20


@st.composite
def headers(draw):
    """A header that describes some of twelve floats, now and then wrongly."""
    names = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=3))
    parts, place = [], 0
    for name in names:
        dtype = draw(st.sampled_from([*SIZES, "F32", "F32"]))
        start = place + draw(st.sampled_from([0, 0, 0, -4, 4]))
        stop = draw(st.sampled_from([48, place + 16, 2**40]))
        size = (stop - start) // SIZES[dtype]
        shape = draw(st.sampled_from([[size], [size], [size // 2, 2], [2**31, 2**31], [], [-1]]))
        parts.append(json.dumps({name: entry(start, stop, dtype, shape)})[1:-1])
        place = stop
    return f"{{{', '.join(parts)}}}".encode(), names


@pytest.mark.fault("F26")
@given(headers(), st.sampled_from([0, 0, 0, 0, 1, -1, 7, 2**40]))
def test_any_header_is_true_or_refused(tmp_path_factory, drawn, more):
    """What is read is the bytes of the file, one after the other, each once, as the types say that they are."""
    header, names = drawn
    content = file(header, length=len(header) + more)
    found, peak = measured(tmp_path_factory.getbasetemp() / "any.safetensors", content)
    assert peak < 10 * len(content) + 2**20
    if isinstance(found, dict):
        described = json.loads(header)
        assert len(set(names)) == len(names) and found.keys() == described.keys()
        ordered = sorted(described, key=lambda name: described[name]["data_offsets"])
        assert b"".join(found[name].tobytes() for name in ordered) == BODY.tobytes()
        for name, array in found.items():
            assert (array.dtype, list(array.shape)) == (TYPES[described[name]["dtype"]], described[name]["shape"])


@pytest.mark.fault("F26")
@given(st.integers(0, 200), st.binary(min_size=1, max_size=4))
def test_a_damaged_header_is_true_or_refused(tmp_path_factory, place, noise):
    whole = file({"first": entry(0, 16), "second": entry(16, 48, "I32", [4, 2])})
    place %= len(whole) - 48 - len(noise)
    content = whole[:place] + noise + whole[place + len(noise) :]
    found, _ = measured(tmp_path_factory.getbasetemp() / "damaged.safetensors", content)
    if isinstance(found, dict):
        assert sum(array.nbytes for array in found.values()) == 48


def bomb(name, pickled=dictionary(w=tensor())):
    """An archive in which a few bytes stand for eight million."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr(name, b"\0" * 2**23)
    return written.getvalue()


def twice():
    """An archive with two storages of one name."""
    written = io.BytesIO(archive(dictionary(w=tensor()), MATRIX))
    with zipfile.ZipFile(written, "a") as file, pytest.warns(UserWarning, match="Duplicate name"):
        file.writestr("archive/data/0", (MATRIX + 1).tobytes())
    return written.getvalue()


def longer():
    """An archive that says of a storage that it is a thousand million bytes long."""
    whole = bytearray(archive(dictionary(w=tensor(size=10**9 // 4)), MATRIX))
    for place in (whole.index(b"archive/data/0") - 12, whole.rindex(b"archive/data/0") - 26):
        whole[place : place + 8] = (10**9).to_bytes(4, "little") * 2  # before and after compression
    return bytes(whole)


def doubled(times):
    """A pickle of a tuple in which each of two is such a tuple: short, and without end when shown or hashed."""
    opcodes = b"K\x01q\x00"
    for number in range(times):
        opcodes += bytes((*b"h", number, *b"h", number, *b"\x86q", number + 1))
    return opcodes


def storage(kind):
    """The opcodes of a storage that is called something else."""
    place = literal(kind) + b"ctorch\nFloatStorage\n" + literal("0") + literal("cpu") + literal(12)
    return b"(" + place + b"tQ"


ENDLESS = doubled(60)
TORCH = {
    "compressed byte order": (bomb("archive/byteorder"), "compressed"),
    "compressed storage": (bomb("archive/data/0"), "compressed"),
    "a longer storage": (longer(), "larger than it is"),
    "two of one name": (twice(), "two of its files have one name"),
    "memo": (archive(b"\x80\x02}r" + (2 * 10**8).to_bytes(4, "little") + b"."), "numbers more than it has"),
    "memo in words": (archive(b"}p200000000\n."), "numbers more than it has"),
    "memo of the old form": (sequence(b"\x80\x02}r" + (2 * 10**8).to_bytes(4, "little") + b"."), "numbers more"),
    "great bytes": (archive(b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b"x."), "damaged"),
    "a great number": (archive(b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little") + b"x."), "damaged"),
    "a storage of numbers": (archive(dictionary(w=b"(K\x01K\x02K\x03K\x04K\x05tQ")), "other things than words"),
    "another kind": (archive(dictionary(w=storage("blob"))), "no storage"),
    "an endless storage": (archive(b"\x80\x02(" + literal("storage") + ENDLESS + literal("0") * 3 + b"tQ."), "words"),
    "an endless shape": (archive(dictionary(w=tensor().replace(literal((3, 4)), ENDLESS + b"\x85"))), "damaged"),
    "objects": (archive(b"\x80\x02cnumpy\nndarray\n."), "it names"),
    "beyond in one axis": (archive(dictionary(w=tensor(shape=(1, 2), strides=(0, 12))), MATRIX), "beyond its storage"),
    "a great stride": (archive(dictionary(w=tensor(shape=(2,), strides=(2**62,))), MATRIX), "beyond its storage"),
    "a negative stride": (archive(dictionary(w=tensor(shape=(2,), strides=(-1,))), MATRIX), "does not fit"),
    "another type": (archive(dictionary(w=tensor(storage="DoubleStorage")), MATRIX), "does not fit"),
}


@pytest.mark.fault("F26")
@pytest.mark.parametrize("kind", TORCH)
def test_a_lying_file_of_pytorch_is_refused(kind):
    content, said = TORCH[kind]
    tracemalloc.start()
    try:
        with pytest.raises(UsageError, match=said) as caught:
            read_torch(content)
        assert len(str(caught.value)) < 400
        assert tracemalloc.get_traced_memory()[1] < 20 * len(content) + 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.fault("F26")
def test_many_tensors_of_one_storage_take_its_memory_once():
    storage = np.arange(10**5, dtype=np.float32)
    names = [f"t{number}" for number in range(200)]
    view = tensor(size=storage.size, shape=(storage.size,), strides=(1,))
    content = archive(dictionary(**dict.fromkeys(names, view)), storage)
    tracemalloc.start()
    tensors = read_torch(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert list(tensors) == names and all((array == storage).all() for array in tensors.values())
    assert peak < 5 * len(content)


@pytest.mark.fault("F26")
@given(st.integers(0, 10**6), st.binary(min_size=1, max_size=4), st.sampled_from([archive, sequence]))
@example(0, b"PK", sequence)
def test_any_damage_of_a_file_of_pytorch_is_refused_or_harmless(place, noise, form):
    identifier = literal(None) if form is sequence else b""
    whole = form(dictionary(weight=tensor(identifier=identifier), other=tensor(identifier=identifier)), MATRIX)
    place %= len(whole)
    try:
        tensors = read_torch(whole[:place] + noise + whole[place + len(noise) :])
    except UsageError as error:
        assert str(error)
    else:
        assert all(isinstance(array, np.ndarray) and array.size <= 12 for array in tensors.values())
