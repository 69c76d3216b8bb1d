"""Any override and any file of an experiment: another valid experiment, or one sentence that says what is wrong."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from experiments import bert_docstrings, silhouettes_finetune
from research.errors import UsageError
from research.experiment import Experiment, difference, fingerprint, from_json, leaves, replace, to_json, value_at

EXPERIMENTS = {
    name: module.experiment for name, module in (("images", silhouettes_finetune), ("text", bert_docstrings))
}
PATHS = {name: [path for path, _, _ in leaves(value)] for name, value in EXPERIMENTS.items()}
NAMES = sorted({part for paths in PATHS.values() for path in paths for part in path.split(".")})

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["adamw", "relu", "digits", 0, 1, 2, -1, 0.5, 1e-45, 2**31, 2**63, 10**400, -0.0, b"x", 1j, ...]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=3), inner, max_size=2)
        | st.builds(lambda: EXPERIMENTS["images"].model)
        | st.builds(lambda: EXPERIMENTS["text"])
    ),
    max_leaves=5,
)
ANY_PATH = st.text(max_size=9) | st.lists(st.sampled_from([*NAMES, "", "0", "-1", "__class__"]), max_size=4).map(
    ".".join
)


def replaced(base, overrides):
    """The experiment with overrides, None where they are refused in a sentence."""
    try:
        return replace(base, overrides)
    except UsageError as error:
        assert str(error)
        return None


@pytest.mark.fault("F30")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_any_override_gives_an_experiment_or_one_sentence(name):
    base = EXPERIMENTS[name]

    @given(st.dictionaries(st.sampled_from(PATHS[name]) | ANY_PATH, VALUES, min_size=1, max_size=2))
    @example({"": 1})
    @example({"model": base})
    @example({"model.__class__": 1})
    @example({"seed.real": 1})
    def override(overrides):
        changed = replaced(base, overrides)
        if changed is None:
            return
        assert isinstance(changed, Experiment)
        assert replace(changed, overrides) == changed
        assert replace(changed, {path: value_at(base, path) for path in difference(base, changed)}) == base
        text = to_json(changed)
        again = from_json(text)
        assert again == changed and to_json(again) == text and fingerprint(again) == fingerprint(changed)

    override()


def shuffled(tree, random):
    """A JSON tree with the keys of every object in another order."""
    if isinstance(tree, dict):
        items = [(key, shuffled(item, random)) for key, item in tree.items()]
        random.shuffle(items)
        return dict(items)
    return [shuffled(item, random) for item in tree] if isinstance(tree, list) else tree


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(name):
    base = EXPERIMENTS[name]

    @given(st.randoms(use_true_random=False))
    def shuffle(random):
        again = from_json(json.dumps(shuffled(json.loads(to_json(base)), random)))
        assert again == base and fingerprint(again) == fingerprint(base) and to_json(again) == to_json(base)

    shuffle()


@pytest.mark.fault("F27", "F30")
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_any_damage_of_a_configuration_gives_an_experiment_or_one_sentence(name):
    """Bytes exchanged, put in or left out: what is read can be written, and is read the same again."""
    base = EXPERIMENTS[name]
    whole = to_json(base).encode()

    @given(
        st.integers(0, len(whole)),
        st.integers(0, 9),
        st.binary(max_size=4) | st.sampled_from([b'"', b"[", b"9" * 5000]),
    )
    def damage(place, length, noise):
        content = whole[:place] + noise + whole[place + length :]
        try:
            value = from_json(content.decode(errors="surrogateescape"))
        except UsageError as error:
            assert str(error)
            return
        assert not isinstance(value, Experiment) or from_json(to_json(value)) == value

    damage()
