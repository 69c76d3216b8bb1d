"""Texts: their pieces, what is held back, and where they end."""

import jax
import numpy as np
import pytest
import tokenizers

from research.data.text.tokenizers import Bytes, Characters, train
from research.errors import UsageError
from research.generation import Options, generate, stream
from research.generation.spelling import Spelling
from research.models import TransformerLanguageModel, TransformerSeq2Seq
from research.tokens import END


def pieces(decode, ids, stop=(), ends=(), prompt=()):
    spelling = Spelling(decode, prompt, stop, ends)
    found = []
    for index, token in enumerate(ids, start=1):
        if not spelling.ended:
            found.append(spelling.add(token, last=index == len(ids)))
    return found


def test_an_unfinished_character_is_held_back():
    text = "aé€😀b"
    found = pieces(Bytes(False).decode, text.encode())
    assert found == ["a", "", "é", "", "", "€", "", "", "", "😀", "b"]
    assert pieces(Bytes(False).decode, text.encode()[:-2]) == [*found[:8], "\ufffd"]  # the end, as it decodes
    assert "".join(pieces(Bytes(False).decode, b"a\xff\xe2b")) == "a\ufffd\ufffdb"


@pytest.mark.parametrize("kind", ["bytes", "characters", "words", "bpe"])
def test_pieces_are_the_text_of_all_tokens(kind):
    text = "für all else equal: é und 😀, all else.\n" * 3
    tokenizer = train(kind, (text,), 300, False)
    ids = tokenizer.encode(text)
    for split in (1, 5, len(ids) - 1):
        found = pieces(tokenizer.decode, ids[split:], prompt=ids[:split])
        assert tokenizer.decode(ids[:split]) + "".join(found) == tokenizer.decode(ids)


@pytest.mark.parametrize(
    ("stop", "ends", "expected"),
    [
        ((), (), ["a", "b", "a", "b", "c", "d"]),
        (("abc",), (), ["", "", "ab", "", ""]),  # the second one becomes it, the first does not
        (("bc", "c"), (), ["a", "", "ba", "", ""]),
        (("dx",), (), ["a", "b", "a", "b", "c", "d"]),
        ((), (ord("c"), ord("b")), ["a", ""]),
        (("cd",), (ord("d"),), ["a", "b", "a", "b", "", "c"]),
    ],
)
def test_a_text_ends_before_what_it_stops_at(stop, ends, expected):
    assert pieces(Bytes(False).decode, b"ababcd", stop, ends) == expected


def test_a_stop_text_in_the_prompt_is_none():
    assert pieces(Bytes(False).decode, b"bc", ("ab", "c"), prompt=b"xa") == ["b", ""]


MODEL = TransformerLanguageModel(layers=1, width=12, heads=2, vocabulary=256, positions="rotary", max_length=32)


@pytest.fixture(scope="module")
def params():
    return MODEL.init(jax.random.key(0), np.zeros((1, 1), np.int32))["params"]


def test_streamed_pieces_are_the_texts(params):
    prompts, options = ["For all", "f", "else equal"], Options(tokens=12, temperature=1.5)
    texts = generate(MODEL, params, Bytes(False), prompts, options)
    joined = [""] * 3
    for row, text in stream(MODEL, params, Bytes(False), prompts, options):
        assert text
        joined[row] += text
    assert joined == texts
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(0), np.arange(3))
    for row, prompt in enumerate(prompts):
        assert generate(MODEL, params, Bytes(False), [prompt], options, keys[row : row + 1]) == [texts[row]]
    assert generate(MODEL, params, Bytes(False), prompts, options, jax.random.key(1)) != texts


def test_a_row_that_has_ended_is_left_out_and_the_others_go_on(params):
    options = Options(tokens=12, temperature=1.5)
    texts = generate(MODEL, params, Bytes(False), ["For", "all"], options)
    places = [{character: text.find(character) for character in text} for text in texts]
    stop = next(character for character in texts[0] if places[0][character] > 0 and character not in texts[1])
    options = Options(tokens=12, temperature=1.5, stop=(stop,))
    assert generate(MODEL, params, Bytes(False), ["For", "all"], options) == [
        texts[0][: places[0][stop]],
        texts[1],
    ]


def test_an_encoder_decoder_writes_to_its_end():
    """Of two tokenizers; greedily, unless something else is said."""
    source, target = Characters(True, ("a", "b", "c")), Characters(True, ("x", "y"))
    model = TransformerSeq2Seq(layers=1, width=12, heads=2, source_vocabulary=8, target_vocabulary=7)
    params = model.init(jax.random.key(3), {"tokens": np.ones((1, 1), int), "targets": np.ones((1, 1), int)})["params"]
    prompts, options = ["ab", "cccaa"], Options(tokens=7)
    texts = generate(model, params, (source, target), prompts, options)
    assert texts == generate(model, params, (source, target), prompts, options, jax.random.key(1))
    assert texts == generate(model, params, (source, target), prompts, Options(tokens=7, stop_tokens=(END,)))
    beams = generate(model, params, (source, target), prompts, Options(tokens=7, beams=2))
    assert all(len(text) <= 7 and set(text) <= set("xy\ufffd") for text in (*texts, *beams))


def test_a_tokenizer_of_the_package_is_one_too(params):
    library = tokenizers.Tokenizer(tokenizers.models.BPE({chr(97 + i): i for i in range(26)}, []))
    (text,) = generate(MODEL, params, library, ["abc"], Options(tokens=5))
    assert set(text) <= set("abcdefghijklmnopqrstuvwxyz ")


def test_prompts_without_tokens_are_refused(params):
    with pytest.raises(UsageError, match="there is no prompt"):
        stream(MODEL, params, Bytes(False), [])
    with pytest.raises(UsageError, match="the prompt '' has no tokens"):
        stream(MODEL, params, Bytes(False), ["a", ""])
    with pytest.raises(UsageError, match="gives id 300, the model knows 256"):
        stream(MODEL, params, Characters(False, tuple(map(chr, range(300)))), [chr(299)])
