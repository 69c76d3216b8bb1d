import collections
import itertools
import json
import sys

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from research.data.storage import folders
from research.data.text import tokenizers
from research.data.text.tokenizers import KINDS, check, from_json, train
from research.errors import UsageError
from research.tokens import SPECIAL, UNKNOWN

TEXTS = ("the cat sat on the mat\n", "the dog sat on the log — née  Ångström 日本\n", "a cat, a dog; the end.") * 3
ODD = "\x00tabs\tand\r\nlines, 🙂 日本語 née \u200b  two spaces "


def both(kind):
    return [train(kind, TEXTS, 300, special) for special in (False, True)]


@pytest.mark.parametrize("kind", KINDS)
def test_training_is_a_pure_function_of_the_texts(kind):
    for special in (False, True):
        first = train(kind, TEXTS, 300, special)
        train.cache_clear()
        again = train(kind, TEXTS, 300, special)
        assert first is not again and first == again and first.to_json() == again.to_json()
        assert train(kind, TEXTS, 300, special) is again
        assert from_json(first.to_json()) == first and json.loads(first.to_json())["kind"] == kind
        ids = first.encode(ODD)
        assert first.size <= 300 and all(0 <= i < first.size for i in ids)
        assert from_json(first.to_json()).encode(ODD) == ids
        if special:
            assert all(i >= SPECIAL or i == UNKNOWN for i in ids)
            assert first.decode([0, 1, 2, *ids, 2, 4, 10_000, -1]) == first.decode(ids)


def test_learned_pieces_do_not_depend_on_a_hash_table():
    """Ties abound among the pieces of random words; the library's trainer for them gives others on every call."""
    words = " ".join(f"{7919 * i % 4001:b}{'xyz'[i % 3]}{i * i % 97:x}" for i in range(3000))
    for kind in ("bpe", "wordpiece"):
        outcomes = set()
        for _ in range(3):
            outcomes.add(train(kind, (words,), 1500, True).to_json())
            train.cache_clear()
        assert len(outcomes) == 1


@pytest.mark.parametrize("kind", ["bytes", "bpe"])
def test_bytes_and_byte_pairs_give_every_text_back(kind):
    for tokenizer in both(kind):
        for text in (*TEXTS, ODD, ""):
            assert tokenizer.decode(tokenizer.encode(text)) == text
            sizes = tokenizer.sizes(text)
            assert len(sizes) == len(tokenizer.encode(text)) and sum(sizes) == len(text.encode())
    assert len(both("bpe")[0].encode(TEXTS[0])) < len(TEXTS[0])
    assert both("bytes")[0].encode("aé") == [97, 0xC3, 0xA9] and both("bytes")[1].encode("a") == [97 + SPECIAL]
    assert both("bytes")[0].decode([0xC3]) == "\ufffd"


def test_the_most_frequent_characters_are_known_and_the_rest_is_counted_in_full():
    plain, special = (
        train("characters", ("aaabbbcc", "ccéd"), 4, False),
        train("characters", ("aaabbbccccéd",), 8, True),
    )
    assert plain.encode("abcdé🙂") == [1, 2, 3, 0, 0, 0] and plain.size == 4
    assert special.encode("abcdé") == [5, 6, 7, UNKNOWN, UNKNOWN] and special.size == 8
    assert plain.decode([1, 2, 3, 0]) == "abc\ufffd" and special.decode([1, 5, 6, 7, UNKNOWN, 2]) == "abc\ufffd"
    assert plain.sizes("aé🙂") == [1, 2, 4]
    assert train("characters", ("zyx",), 3, False).encode("zyx") == [0, 2, 1]  # among equals the first of the alphabet


def test_words_stand_between_spaces():
    tokenizer = train("words", ("AH0 B AH0", "B T"), 7, True)
    assert tokenizer.encode("B AH0 T AH0") == [6, 5, UNKNOWN, 5]
    assert tokenizer.decode([6, 5, 2, 0]) == "B AH0"


def test_word_pieces_are_the_longest_from_the_left():
    """Against a plain loop over the listed pieces."""
    tokenizer = train("wordpiece", TEXTS, 120, True)
    ids = {item: SPECIAL + i for i, item in enumerate(tokenizer.items)}
    assert len(ids) == len(tokenizer.items)

    def pieces(word):
        found, start = [], 0
        while start < len(word):
            stops = [s for s in range(len(word), start, -1) if "##" * (start > 0) + word[start:s] in ids]
            if not stops:
                return [UNKNOWN]
            found.append(ids["##" * (start > 0) + word[start : stops[0]]])
            start = stops[0]
        return found

    for word in ["the", "cat", "dogs", "sat", "mathematics", "angstrom", "qqq", "loge"]:
        assert tokenizer.encode(word.upper()) == pieces(word)
    assert pieces("the") == [ids["the"]] and len(pieces("dogs")) > 1
    assert tokenizer.decode(tokenizer.encode("The cat, NÉE Ångström — the q dogs")) == (
        "the cat , nee angstrom — the \ufffd dogs"
    )
    assert not {0, 1, 2, 4} & set(tokenizer.encode("[PAD] [CLS] [SEP] [MASK] [UNK]"))


def test_pieces_are_merged_by_frequency():
    """Against byte-pair encoding as in the paper: merge the most frequent pair of neighbours, again and again."""
    text = "low low low low low lower lower newest newest newest newest newest newest widest widest widest"
    words = collections.Counter(tuple("Ġ" * (i > 0) + word) for i, word in enumerate(text.split()))
    merges = []
    for _ in range(7):
        pairs = collections.Counter()
        for word, count in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += count
        best = pairs.most_common(1)[0][1]
        found = train("bpe", (text,), 256 + len(merges) + 1, False).merges[-1]
        assert pairs[tuple(found.split())] == best  # ties are free
        merges.append(found)
        left, right = found.split()
        merged = collections.Counter()
        for word, count in words.items():
            out = []
            for symbol in word:
                out = [*out[:-1], left + right] if out and (out[-1], symbol) == (left, right) else [*out, symbol]
            merged[tuple(out)] += count
        words = merged
    assert train("bpe", (text,), 263, False).merges == tuple(merges)


@pytest.mark.parametrize(
    ("kind", "least"), [("bytes", 256), ("bpe", 256), ("characters", 2), ("words", 2), ("wordpiece", 4)]
)
def test_a_vocabulary_without_room_is_refused(kind, least):
    special_least = SPECIAL + least - (kind in ("characters", "words"))
    for n, special in ((least, False), (special_least, True)):
        check(kind, n, special)
        assert train(kind, TEXTS, n, special).size <= n
        with pytest.raises(UsageError, match=f'{n - 1} token ids are too few for tokenizer "{kind}".* at least {n}'):
            train(kind, TEXTS, n - 1, special)


def test_a_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    train.cache_clear()
    for kind in ("bpe", "wordpiece"):
        with pytest.raises(UsageError, match=r'pip install "ceteris-research\[text\]"'):
            train(kind, TEXTS, 300, False)
    assert train("characters", TEXTS, 300, False).size > 20


@given(st.text("ab'sZ7_.!é日🙂 \n\t\r\x1c\x85\u2028\xa0", max_size=60), st.integers(1, 9), st.integers(1, 9))
@example("it's  two   spaces \n\n and\n a tab\t end ", 1, 9)
def test_parts_of_a_text_have_its_tokens(text, block, last):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folders, "_BLOCK", block)
        patch.setattr(tokenizers, "_LAST", last)
        for kind in KINDS:
            for tokenizer in both(kind):
                parts = list(tokenizer.parts(text))
                assert [i for part in parts for i in tokenizer.encode(part)] == tokenizer.encode(text)
                if kind not in ("words", "wordpiece"):
                    assert [size for part in parts for size in tokenizer.sizes(part)] == tokenizer.sizes(text)


def test_a_tokenizer_is_trained_on_parts_as_on_the_whole(monkeypatch):
    texts = (*TEXTS, ODD, " \n more")
    joined = (*(text + "\n\n" for text in texts[:-1]), texts[-1])
    whole = []
    for kind in KINDS:
        whole.append(train(kind, joined, 300, False))
        train.cache_clear()
    monkeypatch.setattr(folders, "_BLOCK", 3)
    assert [train(kind, texts, 300, False, "\n\n") for kind in KINDS] == whole


def test_ids_and_widths_are_arrays_of_what_is_there():
    for kind in ("bytes", "characters", "bpe"):
        for tokenizer in both(kind):
            ids, widths = tokenizer.ids(ODD), tokenizer.widths(ODD)
            assert ids.shape == widths.shape and np.issubdtype(ids.dtype, np.integer)
            assert widths.sum() == len(ODD.encode()) and tokenizer.ids("").shape == (0,)
