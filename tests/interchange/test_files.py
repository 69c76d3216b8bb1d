import hashlib
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import safetensors

from research.errors import UsageError
from research.interchange import read_tensors, write_tensors

TENSORS = {"b": np.arange(6, dtype=np.float32).reshape(2, 3).T, "a": np.float32(3), "c": np.zeros((0, 5), np.float32)}


def test_a_file_holds_what_was_written_whatever_the_order_in_memory(tmp_path):
    file = tmp_path / "file.safetensors"
    write_tensors(file, TENSORS)
    tensors, digest = read_tensors(file)
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        np.testing.assert_array_equal(tensors[name], tensor, strict=True)
    assert digest == hashlib.sha256(file.read_bytes()).hexdigest()


def test_the_header_says_where_tensors_come_from_and_equal_ones_make_equal_files(tmp_path):
    origin = {"fingerprint": "0123456789", "seed": "3", "code": 'ü\n"'}
    digests = set()
    for number in range(8):  # the library's order of them is another one each time
        file = tmp_path / f"{number}.safetensors"
        write_tensors(file, TENSORS, origin)
        tensors, digest = read_tensors(file)
        digests.add(digest)
    np.testing.assert_array_equal(tensors["b"], TENSORS["b"], strict=True)
    assert len(digests) == 1
    with safetensors.safe_open(file, "numpy") as opened:
        assert opened.metadata() == {**origin, "format": "pt"}


@pytest.mark.parametrize("name", ["file.safetensors", "file.pth", "file.pt"])
def test_what_cannot_be_read_is_named(name, tmp_path):
    file = tmp_path / name
    with pytest.raises(UsageError, match=f"cannot read .*{name}: No such file"):
        read_tensors(file)
    for garbage in (b"", b"garbage " * 9):
        file.write_bytes(garbage)
        with pytest.raises(UsageError, match=f"cannot read .*{name}: it is no .*, or damaged"):
            read_tensors(file)


@pytest.mark.fault("F26")
def test_a_truncated_file_is_damaged(tmp_path):
    file = tmp_path / "file.safetensors"
    write_tensors(file, TENSORS)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        file.write_bytes(whole[:length])
        with pytest.raises(UsageError, match="it is no safetensors file, or damaged"):
            read_tensors(file)


def test_another_kind_of_file_is_refused_by_its_name(tmp_path):
    with pytest.raises(
        UsageError, match=r"weights.npz is no file of weights by its name, which ends in .safetensors or"
    ):
        read_tensors(tmp_path / "weights.npz")


def test_numbers_of_a_type_that_is_not_read_are_named(tmp_path):
    file = tmp_path / "file.safetensors"
    header = b'{"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    file.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(UsageError, match="numbers of type F8_E4M3"):
        read_tensors(file)


def test_bfloat16_keeps_its_numbers(tmp_path):
    file = tmp_path / "file.safetensors"
    numbers = np.array([[1.0, -3.0], [np.inf, 2**-130]], jnp.bfloat16)
    write_tensors(file, {"a": numbers})
    np.testing.assert_array_equal(read_tensors(file)[0]["a"], numbers, strict=True)


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "file.safetensors").write_bytes(b"")
    for use in (
        lambda: write_tensors(tmp_path / "file.safetensors", {}),
        lambda: read_tensors(tmp_path / "file.safetensors"),
    ):
        with pytest.raises(UsageError, match=r'pip install "ceteris-research\[weights\]"'):
            use()
