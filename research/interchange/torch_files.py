"""PyTorch's own files of tensors, read without PyTorch, and without running what is in them.

A pickle can call any function of any module. This one may name ordered dictionaries, the functions that rebuild a
tensor, and the kinds of storage; whatever else it names is refused before it is imported. Both forms are read: the zip
archive that PyTorch has written since version 1.6, and the pickles one after another, then bytes, of before.

What a file says of sizes is not believed: tensors are views of its own bytes, so that no file takes more memory than a
few times its length.
"""

import functools
import io
import math
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from research.errors import UsageError

STORAGES: dict[str, Any] = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # with which a file of before version 1.6 begins


class Storage(NamedTuple):
    """What a tensor is a view of: `size` numbers, kept under a key."""

    key: str
    dtype: str
    size: int


class View(NamedTuple):
    """A tensor: where in its storage it begins, its shape, and the step along each axis, all in numbers."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(content: bytes) -> dict[str, np.ndarray]:
    """Return the tensors of a file by name.

    Raises:
        UsageError: it is no such file, is damaged, or holds anything but tensors by name.
    """
    try:
        return _read_archive(content) if content.startswith(b"PK") else _read_sequence(content)
    except UsageError:
        raise
    except Exception as error:  # whatever pickle, zipfile and NumPy raise on garbage
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"it is no file of PyTorch's, or damaged ({reason})") from error


def _read_archive(content: bytes) -> dict[str, np.ndarray]:
    """Read a zip archive, in which every storage is a file."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        _check_members(archive.infolist(), len(content))
        (pickled,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        folder = pickled.removesuffix("data.pkl")
        if f"{folder}byteorder" in archive.namelist() and archive.read(f"{folder}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        read = functools.cache(archive.read)
        return _tensors(_load(io.BytesIO(archive.read(pickled))), lambda it: read(f"{folder}data/{it.key}"))


def _check_members(members: list[zipfile.ZipInfo], length: int) -> None:
    """Raise `ValueError` where few bytes of an archive could fill the memory, or a name means two of its files."""
    if any(item.compress_type != zipfile.ZIP_STORED for item in members):
        raise ValueError("it is compressed")  # PyTorch never does
    if sum(item.file_size for item in members) > length:
        raise ValueError("its files are larger than it is")
    if len({item.filename for item in members}) < len(members):
        raise ValueError("two of its files have one name")


def _read_sequence(content: bytes) -> dict[str, np.ndarray]:
    """Read pickles one after another, then the bytes of every storage in the order of the last pickle."""
    file = io.BytesIO(content)
    magic, protocol, system, views, keys = (_load(file) for _ in range(5))
    if (magic, protocol) != (MAGIC, PROTOCOL) or not system["little_endian"]:
        raise ValueError("it begins with other numbers")
    sizes = {view.storage.key: view.storage for view in views.values() if isinstance(view, View)}
    kept = {}
    for key in keys:
        storage = sizes[key]
        if int.from_bytes(file.read(8), "little") != storage.size:
            raise ValueError(f"storage {key} has another size")
        kept[key] = file.read(storage.size * np.dtype(STORAGES[storage.dtype]).itemsize)
    return _tensors(views, lambda storage: kept[storage.key])


def _tensors(views: Any, stored: Callable[[Storage], bytes]) -> dict[str, np.ndarray]:
    """Return the arrays that a dictionary of views stands for."""
    if not isinstance(views, dict):
        raise UsageError(f"it holds a {type(views).__name__}, not tensors by name")
    for name, view in views.items():
        if not isinstance(name, str):
            raise UsageError(f"it names a tensor by a {type(name).__name__}")
        if not isinstance(view, View):
            raise UsageError(f'"{name}" in it is a {type(view).__name__}, not a tensor: save model.state_dict() alone')
    return {name: _array(view, stored(view.storage)) for name, view in views.items()}


def _array(view: View, content: bytes) -> np.ndarray:
    """Return what a view shows of its storage's bytes, not a copy: a thousand views of one are no larger than it."""
    storage, offset, shape, strides = view
    numbers = np.frombuffer(content, STORAGES[storage.dtype])
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if len(numbers) != storage.size or min(offset, *shape, *strides, 0) < 0 or math.prod(shape) > storage.size:
        raise ValueError("a tensor does not fit its storage")
    if math.prod(shape) and last >= storage.size:
        raise ValueError("a tensor goes beyond its storage")
    steps = tuple(stride * numbers.itemsize for stride in strides)
    return np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False)


def _load(file: io.BytesIO) -> Any:
    """Return what the next pickle of a file holds."""
    start = file.tell()
    for count, (code, argument, _) in enumerate(pickletools.genops(file)):
        # The unpickler makes room for as many things as this number says.
        if "PUT" in code.name and isinstance(argument, int) and argument > count:
            raise ValueError("it numbers more than it has")
    file.seek(start)
    return Restricted(file).load()


class Restricted(pickle.Unpickler):
    """An unpickler that calls nothing but what is written below."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands for a name, or raise `UsageError`; nothing is imported."""
        match module, name:
            case "collections", "OrderedDict":
                return OrderedDict
            case "torch._utils", "_rebuild_tensor_v2":
                return self._rebuild_tensor
            case "torch._utils", "_rebuild_parameter":
                return self._rebuild_parameter
            case "torch", _ if name in STORAGES:
                return name
        shown = ascii(f"{module}.{name}")[1:-1][:100]
        raise UsageError(f'it names "{shown}", which is no tensor, and might run code; nothing of it was read')

    def persistent_load(self, identifier: Any) -> Storage:
        """Return the storage that a pickle refers to."""
        kind, dtype, key, _, size, *rest = identifier
        # What is wrong is not shown, nor hashed: of tuples in tuples in tuples, each twice, that would take for ever.
        if not (isinstance(dtype, str) and isinstance(key, str) and isinstance(size, int)):
            raise ValueError("it refers to a storage by other things than words and a number")
        if kind != "storage" or dtype not in STORAGES or rest not in ([], [None]):
            raise ValueError("it refers to something that is no storage")
        return Storage(key, dtype, size)

    def _rebuild_tensor(
        self, storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
    ) -> View:
        """Return a tensor; whether it had a gradient, and its hooks, are left out."""
        if not isinstance(storage, Storage) or not all(isinstance(n, int) for n in (offset, *shape, *strides)):
            raise ValueError("it has a tensor of other things than numbers")
        return View(storage, offset, tuple(shape), tuple(strides))

    def _rebuild_parameter(self, view: View, *_: Any) -> View:
        """Return the tensor of a parameter."""
        return view
