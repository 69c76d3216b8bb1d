"""Files as PyTorch writes them, put together here opcode by opcode, for PyTorch is not there to do it."""

import io
import pickle
import zipfile

import numpy as np
import pytest

from research.errors import UsageError
from research.interchange.torch_files import read_torch

EMPTY = b"ccollections\nOrderedDict\n)R"
MATRIX = np.arange(12, dtype=np.float32)
COUNT = np.array([7], np.int64)


def literal(value):
    """The opcodes of a string, number or tuple, without those that begin and end a pickle."""
    return pickle.dumps(value, 2)[2:-1]


def tensor(key="0", storage="FloatStorage", size=12, offset=0, shape=(3, 4), strides=(4, 1), identifier=b""):
    place = b"(" + literal("storage") + f"ctorch\n{storage}\n".encode() + literal(key) + literal("cpu") + literal(size)
    view = literal(offset) + literal(shape) + literal(strides) + literal(False) + EMPTY
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + place + identifier + b"tQ" + view + b"tR"


def parameter(view):
    return b"ctorch._utils\n_rebuild_parameter\n(" + view + literal(True) + EMPTY + b"tR"


def dictionary(**entries):
    return b"\x80\x02" + EMPTY + b"(" + b"".join(literal(name) + entry for name, entry in entries.items()) + b"u."


def archive(pickled, *storages, compression=zipfile.ZIP_STORED, byteorder=b"little"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as written:
        written.writestr("archive/data.pkl", pickled)
        written.writestr("archive/byteorder", byteorder)
        for key, storage in enumerate(storages):
            written.writestr(f"archive/data/{key}", storage.tobytes())
        written.writestr("archive/version", "3\n")
    return file.getvalue()


def sequence(pickled, *storages):
    """The form of before version 1.6, in which the identifier of a storage has one more entry."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
    keys = [str(key) for key in range(len(storages))]
    kept = b"".join(storage.size.to_bytes(8, "little") + storage.tobytes() for storage in storages)
    return b"".join(pickle.dumps(part, 2) for part in head) + pickled + pickle.dumps(keys, 2) + kept


FORMS = pytest.mark.parametrize(("form", "identifier"), [(archive, b""), (sequence, literal(None))])


@FORMS
def test_tensors_are_views_of_storages(form, identifier):
    pickled = dictionary(
        whole=tensor(identifier=identifier),
        transposed=parameter(tensor(shape=(4, 3), strides=(1, 4), identifier=identifier)),
        row=tensor(offset=8, shape=(4,), strides=(1,), identifier=identifier),
        empty=tensor(shape=(0, 3), strides=(3, 1), identifier=identifier),
        count=tensor("1", "LongStorage", 1, 0, (), (), identifier=identifier),
    )
    tensors = read_torch(form(pickled, MATRIX, COUNT))
    matrix = MATRIX.reshape(3, 4)
    expected = {"whole": matrix, "transposed": matrix.T, "row": matrix[2], "empty": matrix[:0, :3], "count": COUNT[0]}
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, strict=True)


def test_half_precision_keeps_its_numbers():
    bits = np.array([0x3F80, 0xC040, 0x7F80], np.uint16)  # bfloat16: the upper half of a float32
    view = {"size": 3, "shape": (3,), "strides": (1,)}
    read = read_torch(archive(dictionary(b=tensor("0", "BFloat16Storage", **view)), bits))["b"]
    np.testing.assert_array_equal(read.astype(np.float32), np.array([1, -3, np.inf], np.float32))
    half = np.array([0.5, -2, 7], np.float16)
    np.testing.assert_array_equal(
        read_torch(archive(dictionary(b=tensor("0", "HalfStorage", **view)), half))["b"], half
    )


def call(module, name, *arguments):
    return f"c{module}\n{name}\n(".encode() + b"".join(literal(argument) for argument in arguments) + b"tR"


@pytest.mark.fault("F25")
@FORMS
@pytest.mark.parametrize(
    "name",
    [
        "os system",
        "builtins eval",
        "torch load",
        "torch.nn.modules.linear Linear",
        "collections Counter",
        "torch._utils os",
    ],
)
def test_what_is_no_tensor_is_named_and_never_called(form, identifier, name, tmp_path):
    touched = tmp_path / "touched"
    module, function = name.split()
    hidden = dictionary(weight=tensor(identifier=identifier), other=call(module, function, f"touch {touched}"))
    with pytest.raises(UsageError, match=f'it names "{module}.{function}", which is no tensor'):
        read_torch(form(hidden, MATRIX))
    assert not touched.exists()


@pytest.mark.fault("F25")
def test_a_name_with_a_dot_in_it_reaches_nothing():
    spelled = b"\x80\x04" + literal("torch._utils") + literal("_rebuild_tensor_v2.__globals__") + b"\x93."
    with pytest.raises(UsageError, match="which is no tensor"):
        read_torch(archive(spelled))


@pytest.mark.fault("F26")
@pytest.mark.parametrize(
    ("pickled", "said"),
    [
        (dictionary(model=EMPTY), '"model" in it is a OrderedDict, not a tensor'),
        (dictionary(epoch=literal(3)), '"epoch" in it is a int, not a tensor'),
        (pickle.dumps([1, 2]), "it holds a list, not tensors by name"),
        (dictionary(w=tensor(offset=1)), "a tensor goes beyond its storage"),
        (dictionary(w=tensor(offset=-1)), "a tensor does not fit its storage"),
        (dictionary(w=tensor(strides=(0, 0), shape=(9999, 9999))), "a tensor does not fit its storage"),
        (dictionary(w=tensor(size=13)), "a tensor does not fit its storage"),
        (dictionary(w=tensor(shape=(3.0, 4))), "it has a tensor of"),
        (dictionary(w=tensor(key="1")), "There is no item named"),
        (dictionary(w=tensor(storage="QInt8Storage")), "which is no tensor"),
    ],
)
def test_what_does_not_fit_is_refused(pickled, said):
    with pytest.raises(UsageError, match=said):
        read_torch(archive(pickled, MATRIX))


def test_numbers_the_other_way_round_and_compressed_files_are_refused():
    with pytest.raises(UsageError, match="big-endian"):
        read_torch(archive(dictionary(w=tensor()), MATRIX, byteorder=b"big"))
    with pytest.raises(UsageError, match="compressed"):
        read_torch(archive(dictionary(w=tensor()), MATRIX, compression=zipfile.ZIP_DEFLATED))


@pytest.mark.fault("F26")
@FORMS
def test_a_truncated_file_is_damaged_wherever_it_ends(form, identifier):
    whole = form(dictionary(weight=tensor(identifier=identifier)), MATRIX)
    for length in range(len(whole)):
        with pytest.raises(UsageError, match="it is no file of PyTorch's, or damaged"):
            read_torch(whole[:length])


@pytest.mark.fault("F26")
def test_a_flipped_bit_in_an_archive_is_found():
    whole = bytearray(archive(dictionary(weight=tensor()), MATRIX))
    whole[whole.index(MATRIX.tobytes()) + 5] ^= 1
    with pytest.raises(UsageError, match="Bad CRC-32"):
        read_torch(bytes(whole))
