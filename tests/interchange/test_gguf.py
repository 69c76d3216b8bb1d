"""Llamas in GGUF files are what they are in folders; what such a file says that is not so is told in a sentence."""

import json
import pathlib
import struct
import sys

import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.generation.chat import read_template
from research.generation.published import special_tokens
from research.interchange import from_pretrained, read_tensors
from research.interchange.gguf.file import read_gguf
from research.interchange.gguf.tokenizer import tokenizer_of
from tests.golden.folders import write

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "published_llama.gguf"
"""As the package gguf writes it, with a tokenizer."""


@pytest.fixture
def changed(tmp_path):
    """Writes the file with other bytes."""

    def change(*pairs):
        content = GOLDEN.read_bytes()
        for old, new in pairs:
            assert len(old) == len(new) and content.count(old) == 1
            content = content.replace(old, new)
        (tmp_path / "model.gguf").write_bytes(content)
        return tmp_path / "model.gguf"

    return change


def test_a_file_holds_the_model_of_a_folder(tmp_path, changed):
    """Queries and keys above all, whose rows are in another order: what is written would look right all the same."""
    folder = write("llama", tmp_path / "folder")
    model, params, _ = from_pretrained(folder)
    again, same, _ = from_pretrained(GOLDEN)
    assert again == model.clone(attention_dropout=again.attention_dropout)
    jax.tree.map(np.testing.assert_array_equal, same, params)
    tensors, digest = read_tensors(GOLDEN)
    expected, _ = read_tensors(folder / "model.safetensors")
    assert tensors.keys() == expected.keys()
    assert digest == read_tensors(changed())[1] and from_pretrained(tmp_path)[0] == again  # the only file of a folder


def test_what_a_file_says_of_texts_is_read():
    tokenizer = from_pretrained(GOLDEN)[2]
    ids = {word: tokenizer.token_to_id(word) for word in ("Ġa", "n", "1", "2", "<|im_end|>", "c", "in", "'t", "12")}
    encoded = tokenizer.encode(" an 12<|im_end|>cin't")
    assert encoded.ids == [
        *(ids["Ġa"], ids["n"], tokenizer.token_to_id("Ġ"), ids["1"], ids["2"]),
        *(ids["<|im_end|>"], ids["c"], ids["in"], ids["'t"]),
    ]
    assert tokenizer.decode(encoded.ids) == " an 12cin't"
    assert special_tokens(GOLDEN) == {"stop_tokens": (2,), "start_token": 2}
    template = read_template(GOLDEN)
    assert template.text.startswith("{% for message in messages %}") and template.words["eos_token"] == "<|im_end|>"


def test_how_texts_are_cut_is_said_by_name():
    words = ["<s>", *"abc123", "12", "123", "abc"]
    said = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": words,
        "tokenizer.ggml.token_type": [3] + [1] * 9,
        "tokenizer.ggml.merges": ["1 2", "12 3"],
        "tokenizer.ggml.bos_token_id": 0,
    }
    ids = {cut: tokenizer_of(said | {"tokenizer.ggml.pre": cut}).encode("abc1231").ids for cut in ("gpt-2", "smollm")}
    assert ids == {"gpt-2": [1, 2, 3, 8, 4], "smollm": [1, 2, 3, 4, 5, 6, 4]}
    llama = said | {"tokenizer.ggml.pre": "llama-bpe"}
    assert tokenizer_of(llama).encode("abc1231").ids == [0, 9, 8, 4]  # three digits, a token before its bytes, and <s>
    assert tokenizer_of(llama | {"tokenizer.ggml.add_bos_token": False}).encode("1").ids == [4]
    for entry, said_of_it in {
        "model": ("llama", 'tokenizer is of the kind "llama", where "gpt2" alone is read'),
        "pre": ("llama-bpo", 'tokenizer cuts texts as "llama-bpo"; did you mean "llama-bpe"?'),
        "merges": (["1 9"], "tokenizer is damaged"),
        "tokens": (["a", "a"], "tokenizer is damaged"),
    }.items():
        with pytest.raises(UsageError, match=said_of_it[1]):
            tokenizer_of(llama | {f"tokenizer.ggml.{entry}": said_of_it[0]})


FAULTS = {
    "no GGUF": ((b"GGUF\3", b"GGML\3"), "it is no GGUF file$"),
    "an older one": ((b"GGUF\3", b"GGUF\1"), r"damaged GGUF file \(of version 1, where 2 and 3 are read\)"),
    "another architecture": ((b"\5\0\0\0\0\0\0\0llama", b"\5\0\0\0\0\0\0\0gemma"), 'of the architecture "gemma"'),
    "an entry": ((b"llama.rope.freq_base", b"llama.rope.freq_bass"), 'has "llama.rope.freq_bass", which models here'),
    "a kind": ((b"llama.rope.freq_base\6", b"llama.rope.freq_base\x0d"), "an entry of kind 13"),
    "a number": ((b"llama.block_count\4\0\0\0\2", b"llama.block_count\4\0\0\0\3"), "lack .*model.layers.2"),
    "many": ((b"block_count\4\0\0\0\2\0\0", b"block_count\4\0\0\0\2\0\1"), "the file says 65538 layers, but there are"),
    "turning a part": (
        (b"dimension_count\4\0\0\0\x08", b"dimension_count\4\0\0\0\4"),
        "rope.dimension_count=4, ",
    ),
    "heads": ((b"head_count\4\0\0\0\6", b"head_count\4\0\0\0\7"), '"blk.0.attn_q.weight" in it does not have 7 heads'),
    "a tensor": ((b"blk.0.ffn_up", b"blk.0.ffn_op"), 'and the model does not, "blk.0.ffn_op.weight"'),
    "a tensor twice": ((b"blk.0.ffn_up.weight", b"blk.1.ffn_up.weight"), "damaged GGUF file .a tensor is there twice"),
    "an entry twice": ((b"ggml.eos_token_id", b"ggml.bos_token_id"), "damaged GGUF file .an entry is there twice"),
    "no width": ((b"embedding_length", b"embedding_lengts"), "does not say the width"),
    "a text": ((b"<|im_start|>", b"<|im_\xff\xffart|>"), "damaged GGUF file"),
    "the tokenizer": ((b"smollm", b"smellm"), 'cuts texts as "smellm"; did you mean "smollm"?'),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_not_so_is_told_in_a_sentence(fault, changed):
    pair, said = FAULTS[fault]
    with pytest.raises(UsageError, match=said) as refused:
        from_pretrained(changed(pair))
    assert "\n" not in str(refused.value) and "model.gguf" in str(refused.value)


def test_a_cut_file_is_damaged_wherever_it_ends(tmp_path):
    """Also one that says to hold more than any file."""
    content = GOLDEN.read_bytes()
    for length in (0, 3, 4, 20, 200, 2000, len(content) - 1):
        (tmp_path / "model.gguf").write_bytes(content[:length])
        with pytest.raises(UsageError, match=r"cannot read .*model.gguf: it is (no GGUF|a damaged GGUF) file"):
            from_pretrained(tmp_path)
    for place in (8, 16, content.index(b"tokenizer.ggml.merges") + 21 + 8):
        (tmp_path / "model.gguf").write_bytes(content[:place] + struct.pack("<Q", 2**63) + content[place + 8 :])
        with pytest.raises(UsageError, match="damaged GGUF file"):
            from_pretrained(tmp_path)


def test_any_byte_of_a_header_may_be_wrong():
    """It is refused in a sentence, or says something else, and never takes more room than the file is long."""
    content = GOLDEN.read_bytes()
    draw = np.random.default_rng(0)
    for place in draw.integers(0, content.index(b"blk.1.ffn_norm"), 500):
        spoilt = bytearray(content)
        spoilt[place] = draw.integers(256)
        try:
            _, tensors = read_gguf(bytes(spoilt))
            assert sum(tensor.nbytes for tensor in tensors.values()) <= 8 * len(content)
        except UsageError as error:
            assert "\n" not in str(error)


def test_which_file_is_meant_has_to_be_said(tmp_path):
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(UsageError, match="has several models: name one of a.gguf, b.gguf"):
        from_pretrained(tmp_path)
    with pytest.raises(UsageError, match="cannot read .*c.gguf: No such file"):
        from_pretrained(tmp_path / "c.gguf")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UsageError, match="has neither model.safetensors nor"):
        from_pretrained(tmp_path)


def test_quantised_numbers_need_a_package(changed, monkeypatch):
    content = GOLDEN.read_bytes()
    start = content.index(b"blk.0.ffn_up.weight")
    old = content[start : start + 43]  # the name, the number of axes, two lengths and the kind
    file = changed((old, old[:-4] + struct.pack("<I", 8)))
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match=r'quantised numbers need a package: pip install "ceteris-research\[gguf\]"'):
        from_pretrained(file)


def test_quantised_numbers_are_those_of_the_package(tmp_path):
    gguf = pytest.importorskip("gguf")
    file = tmp_path / "some.gguf"
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_array("odd", [1, 2, 3])
    weights = np.random.default_rng(0).normal(size=(5, 3, 64)).astype(np.float32)
    kinds = {kind.name: kind for kind in map(gguf.GGMLQuantizationType, (0, 1, 2, 3, 8, 30))}
    for name, kind in kinds.items():
        writer.add_tensor(name, gguf.quantize(weights, kind), raw_dtype=kind)
    for write_part in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write_part()
    writer.close()
    entries, tensors = read_gguf(file.read_bytes())
    assert entries == {"general.architecture": "llama", "odd": [1, 2, 3]} and tensors.keys() == kinds.keys()
    for tensor in gguf.GGUFReader(file).tensors:
        expected = gguf.dequantize(tensor.data, tensor.tensor_type)
        np.testing.assert_array_equal(tensors[tensor.name].astype(np.float32), expected.astype(np.float32))
        np.testing.assert_allclose(tensors[tensor.name].astype(np.float32), weights, atol=0.4)
