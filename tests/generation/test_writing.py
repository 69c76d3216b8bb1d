"""Tokens after prompts: those that transformers writes, whatever stands beside them, compiled once for a bucket."""

from pathlib import Path

import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.generation import programs
from research.generation.options import Options
from research.generation.writing import best, write
from research.interchange import from_pretrained
from research.models import CNN, RecurrentLanguageModel, TransformerLanguageModel
from tests.golden.folders import write as write_folder

with np.load(Path(__file__).parents[1] / "golden" / "generation.npz") as archive:
    GENERATION = dict(archive)
PROMPTS = ((3, 17, 4, 9, 21), (8,), (5, 30, 12))
WINDOW = 17  # learned positions of the GPT-2


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Models and parameters by case."""
    root = tmp_path_factory.mktemp("published")
    return {case: from_pretrained(write_folder(case, root / case))[:2] for case in ("gpt2", "llama", "t5")}


def keys_of(count):
    return jax.random.split(jax.random.key(0), count)


def written(model, params, prompts, options, keys=None):
    keys = keys_of(len(prompts)) if keys is None else keys
    return np.stack(list(write(model, params, prompts, options, keys)), axis=1)


LONG = Options(tokens=30, temperature=0.0, start_token=0)


@pytest.mark.parametrize("case", ["gpt2", "llama", "t5"])
def test_the_likeliest_tokens_are_those_that_transformers_writes(case, published):
    np.testing.assert_array_equal(written(*published[case], PROMPTS, LONG)[:, :6], GENERATION[f"{case}/greedy"])


@pytest.mark.parametrize("case", ["gpt2", "t5"])
def test_so_are_those_of_beams(case, published):
    found = best(*published[case], PROMPTS, Options(tokens=6, beams=3, start_token=0), ())
    np.testing.assert_array_equal(found, GENERATION[f"{case}/beams"])


def test_what_is_in_the_text_is_penalized_as_in_transformers(published):
    found = written(*published["gpt2"], PROMPTS, Options(tokens=6, temperature=0.0, repetition_penalty=1.5))
    np.testing.assert_array_equal(found, GENERATION["gpt2/penalty"])
    assert (found != GENERATION["gpt2/greedy"]).any()


DRAWING = Options(tokens=24, temperature=1.3, top_k=20, top_p=0.9, repetition_penalty=1.2)


def test_a_row_depends_on_no_other(published):
    """Bit for bit where shapes are the same; alone, its tokens are the same. Longer than what is seen at once."""
    model, params = published["gpt2"]
    keys, other = keys_of(3), (1, 2, 3, 4, 5, 6, 7)
    whole = written(model, params, PROMPTS, DRAWING, keys)
    beside = written(model, params, (PROMPTS[0], other, PROMPTS[2]), DRAWING, keys)
    np.testing.assert_array_equal(whole[[0, 2]], beside[[0, 2]])
    assert (whole[1] != beside[1]).any()
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_array_equal(written(model, params, [prompt], DRAWING, keys[row : row + 1])[0], whole[row])
    numbers = {"temperature": 1.3, "top_p": 0.9, "repetition_penalty": 1.2}
    states = []
    for second in ((8,), other):
        tokens, lengths = programs.padded((PROMPTS[0], second, PROMPTS[2]), 16)
        setting = programs.Setting(model, WINDOW, None, 20)
        state = programs.begin(setting, params, tokens, lengths, keys, numbers)
        states.append(programs.advance(setting, params, state, keys, 1, numbers))
    (_, one), (_, two) = (state.carry.layers.own for state in states)
    n = len(PROMPTS[0]) + 1  # what lies after it is of the padding
    np.testing.assert_array_equal(one[0, :, :n], two[0, :, :n])
    assert (one[1, :, :1] != two[1, :, :1]).any()


def test_no_token_of_the_padding_is_penalized(published):
    model, params = published["gpt2"]
    tokens, lengths = programs.padded(PROMPTS, 16)
    setting = programs.Setting(model, WINDOW, None, None)
    state = programs.begin(setting, params, tokens, lengths, keys_of(3), {"repetition_penalty": 1.5})
    seen = np.asarray(state.seen)
    assert [set(np.flatnonzero(row)) for row in seen] == [set(prompt) for prompt in PROMPTS]


def test_a_text_continues_in_view_of_the_last_half_of_what_was_seen(published):
    """The likeliest tokens, one after the other from a whole forward pass over what is in view."""
    model, params = published["gpt2"]
    prompts = [*PROMPTS[:2], tuple(range(20))]
    found = written(model, params, prompts, LONG)
    forward = jax.jit(lambda tokens: model.apply({"params": params}, tokens))
    for prompt, row in zip([*PROMPTS[:2], prompts[2][-9:]], found, strict=True):
        text, first = list(prompt), 0
        for token in row.tolist():
            if len(text) - first > WINDOW:
                first = len(text) - (WINDOW + 1) // 2
            view = text[first:]
            logits = forward(np.array([view + [0] * (WINDOW - len(view))]))[0, len(view) - 1]
            assert token == logits.argmax()
            text.append(token)
        assert first > 0


def test_a_recurrent_model_remembers_all(published):
    model = RecurrentLanguageModel(vocabulary=31, hidden=13, embedding=7)
    params = model.init(jax.random.key(1), np.zeros((1, 1), np.int32))["params"]
    found = written(model, params, PROMPTS, Options(tokens=9, temperature=0.0))
    for prompt, row in zip(PROMPTS, found, strict=True):
        logits = model.apply({"params": params}, np.array([[*prompt, *row.tolist()]]))[0]
        np.testing.assert_array_equal(row, logits[len(prompt) - 1 : -1].argmax(axis=-1))


def test_a_bucket_is_compiled_once(monkeypatch):
    """Once for the first token and once for all later ones, whatever the lengths, numbers and count of tokens."""
    traced = []
    draw = programs.sample
    monkeypatch.setattr(programs, "sample", lambda *arguments, **named: traced.append(1) or draw(*arguments, **named))
    model = TransformerLanguageModel(layers=1, width=10, heads=1, vocabulary=23, positions="alibi")
    params = model.init(jax.random.key(0), np.zeros((1, 1), np.int32))["params"]
    for lengths, tokens, temperature in (((1, 2), 15, 0.5), ((3, 9), 8, 0.9), ((8, 8), 3, 2.0), ((4, 14), 2, 1.0)):
        prompts = [[length] * length for length in lengths]
        assert written(model, params, prompts, Options(tokens=tokens, temperature=temperature)).shape == (2, tokens)
    assert len(traced) == 2
    written(model, params, [[1] * 14, [2]], Options(tokens=4))
    assert len(traced) == 4


def test_what_cannot_be_written_is_refused(published):
    model, params = published["gpt2"]
    with pytest.raises(UsageError, match="which are 18 tokens of at most 17: ask for fewer"):
        best(model, params, PROMPTS, Options(tokens=14, beams=2), ())
    with pytest.raises(UsageError, match="CNN cannot write"):
        next(write(CNN(), {}, PROMPTS, Options(), keys_of(3)))
    with pytest.raises(UsageError, match="beams draw nothing: leave temperature and top_k out"):
        Options(beams=2, temperature=0.5, top_k=3)
    with pytest.raises(UsageError, match="a stop text is empty"):
        Options(stop=("",))
