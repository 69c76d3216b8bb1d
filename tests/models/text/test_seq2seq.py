from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.fields import children, kind, validate
from research.layers.sequences.alignment import Alignment
from research.layers.sequences.decoding import beam_search, greedy
from research.layers.sequences.recurrence import StackedRecurrence
from research.models.text.seq2seq import Seq2Seq

ATTENTIONS = ("none", "additive", "dot", "general", "concat")
B, S, T, V, W, H = 5, 7, 3, 13, 11, 5
generator = np.random.default_rng(0)
TOKENS = generator.integers(0, V, (B, S)).astype(np.int32)
TARGETS = np.stack([generator.permutation(W)[:T] for _ in range(B)]).astype(np.int32)  # no token twice
LENGTHS = np.array([4, 7, 1, 6, 2], np.int32)
INPUTS = {"tokens": TOKENS, "targets": TARGETS, "lengths": LENGTHS}
TINY = Seq2Seq(source_vocabulary=V, target_vocabulary=W, embedding=2, hidden=H, layers=2)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def apply(model, *inputs, **keywords):
    """What a model gives, compiled as one program."""
    return jax.jit(partial(model.apply, **keywords))(*inputs)


def randomized(model, seed=0):
    """Parameters of the model's shapes, biases random too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), INPUTS)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.7, leaf.dtype), shapes)


def stepwise(model, variables, choose):
    """Logits [b, t, w] of a loop of single steps, whose input at step t is choose(t, logits so far)."""
    carry = apply(model, variables, INPUTS, capacity=T, method="start")
    step = jax.jit(lambda carry, tokens: model.apply(variables, carry, tokens, method="step"))
    logits = []
    for t in range(T):
        carry, following = step(carry, jnp.asarray(choose(t, logits)))
        logits.append(following)
    return np.stack(logits, axis=1)


@pytest.mark.parametrize(
    "attention, feeding", [*((name, False) for name in ATTENTIONS), ("none", True), ("concat", True)]
)
def test_teacher_forcing_is_a_loop_of_single_steps_over_the_targets(attention, feeding):
    model = TINY.clone(attention=attention, input_feeding=feeding, bidirectional=attention != "dot")
    variables = randomized(model)
    expected = stepwise(model, variables, lambda t, logits: TARGETS[:, t])
    close(jax.jit(model.apply)(variables, INPUTS), expected)


@pytest.mark.parametrize("feeding", [False, True])
def test_with_all_inputs_sampled_the_decoder_reads_what_it_wrote(feeding):
    model = TINY.clone(scheduled_sampling=1.0, input_feeding=feeding)
    variables = randomized(model)
    expected = stepwise(model, variables, lambda t, logits: logits[-1].argmax(-1) if t else TARGETS[:, 0])
    sampled = apply(model, variables, INPUTS, train=True, rngs={"sampling": jax.random.key(0)})
    close(sampled, expected)
    forced = apply(model, variables, INPUTS)
    assert np.abs(forced - sampled).max() > 0.01  # outside of training nothing is sampled
    close(apply(TINY.clone(input_feeding=feeding), variables, INPUTS, train=True), forced)


def test_the_sampling_rate_maps_and_each_input_has_a_coin_of_its_own():
    variables = randomized(TINY)
    guess = np.stack([stepwise(TINY, variables, lambda t, _: TARGETS[:, t])[:, t] for t in range(T)], axis=1)
    guess = guess.argmax(-1)  # [b, t]: what is guessed after the targets up to t

    def run(rate, key):
        model = TINY.clone(scheduled_sampling=rate)
        return apply(model, variables, INPUTS, train=True, rngs={"sampling": key})

    rates = jnp.array([0.0, 0.3, 1.0])
    some = jax.jit(jax.vmap(jax.vmap(run, (None, 0)), (0, None)))(rates, jax.random.split(jax.random.key(0), 211))
    forced = apply(TINY, variables, INPUTS)
    close(some[0], np.broadcast_to(forced, some[0].shape))
    rows = guess[:, 0] != TARGETS[:, 1]  # where a sampled second input is another than the target
    changed = np.abs(some[1:, :, :, 1] - forced[None, None, :, 1]).max(-1)[:, :, rows] > 1e-4
    assert changed[1].all()
    share, deviation = changed[0].mean(), np.sqrt(0.3 * 0.7 / changed[0].size)
    assert abs(share - 0.3) < 4 * deviation
    assert (changed[0].std(axis=1) > 0).any()  # not all sequences of a batch alike


@pytest.mark.parametrize("attention", ["none", "general"])
def test_it_is_its_parts_put_together(attention):
    model = TINY.clone(cell="gru", attention=attention, bidirectional=True)
    variables = randomized(model)
    p = variables["params"]
    outputs, ends = apply(
        StackedRecurrence(H, 2, "gru", True),
        {"params": p["encoder"]},
        p["source_embed"]["embedding"][TOKENS],
        LENGTHS,
    )
    carry = []
    for layer, ((forward,), (backward,)) in enumerate(ends):
        bridge = p[f"bridge_{layer}"]
        carry.append(((np.tanh(np.concatenate([forward, backward], -1) @ bridge["kernel"] + bridge["bias"][None]),),))
    h, _ = apply(
        StackedRecurrence(H, 2, "gru"),
        {"params": p["decoder"]},
        p["target_embed"]["embedding"][TARGETS],
        None,
        tuple(carry),
    )
    if attention == "general":
        mask = np.arange(S)[None] < LENGTHS[:, None]
        context, _ = apply(Alignment("general", H), {"params": p["alignment"]}, h, outputs, mask)
        h = np.tanh(np.concatenate([context, h], axis=-1) @ p["combine"]["kernel"])
    expected = h @ p["head"]["kernel"] + p["head"]["bias"][None, None]
    close(apply(model, variables, INPUTS), expected, rtol=1e-4)


def test_what_pads_the_source_changes_nothing():
    model = TINY.clone(bidirectional=True)
    variables = randomized(model)
    dirty = np.where(np.arange(S)[None] < LENGTHS[:, None], TOKENS, V + 99).astype(np.int32)

    @jax.jit
    def everything(tokens):
        loss = lambda variables: (apply(model, variables, {**INPUTS, "tokens": tokens}) ** 2).sum()  # noqa: E731
        return jax.value_and_grad(loss)(variables)

    jax.tree.map(np.testing.assert_array_equal, everything(TOKENS), everything(dirty))
    wider = {**INPUTS, "tokens": np.pad(TOKENS, ((0, 0), (0, 4)))}
    close(apply(model, variables, wider), apply(model, variables, INPUTS))
    whole = {"tokens": TOKENS, "targets": TARGETS}
    close(apply(model, variables, whole), apply(model, variables, {**whole, "lengths": np.full(B, S)}))


@pytest.mark.parametrize("feeding", [False, True])
def test_a_step_sees_no_later_target(feeding):
    model = TINY.clone(input_feeding=feeding)
    variables = randomized(model)

    def logits(embedding):
        params = {**variables["params"], "target_embed": {"embedding": embedding}}
        return model.apply({"params": params}, INPUTS)[2].sum(-1)

    influence = jax.jit(jax.jacrev(logits))(variables["params"]["target_embed"]["embedding"])  # [t, w, embedding]
    seen = (np.abs(influence).sum(-1) > 0)[:, TARGETS[2]]
    np.testing.assert_array_equal(seen, np.tril(np.ones((T, T), bool)))


def test_what_is_decoded_scores_as_teacher_forcing_says():
    model, end, beams = TINY.clone(bidirectional=True, input_feeding=True), W - 1, 3
    variables = randomized(model)
    start = jnp.zeros(B, jnp.int32)

    @jax.jit
    def write(variables):
        bound = model.bind(variables)
        carry = bound.start({"tokens": TOKENS, "lengths": LENGTHS}, 4)
        return greedy(bound.step, carry, start, end, 4), beam_search(bound.step, carry, start, end, 4, beams)

    one, many = write(variables)
    for tokens, lengths, scores in [one, *(tuple(part[:, k] for part in many) for k in range(beams))]:
        read = np.concatenate([start[:, None], tokens[:, :-1]], axis=1)
        logits = jax.nn.log_softmax(apply(model, variables, {**INPUTS, "targets": read}))
        each = np.take_along_axis(logits, np.asarray(tokens)[..., None], axis=-1)[..., 0]
        close(scores, np.where(np.arange(4)[None] < lengths[:, None], each, 0).sum(1), rtol=1e-4)


def test_parameters_are_as_many_as_the_formula_says():
    lstm = lambda width: 4 * H * (width + H + 1)  # noqa: E731
    base = (V + W) * 2 + 2 * lstm(2) + 2 * lstm(H) + (H + 1) * W
    both = base + lstm(2) + lstm(2 * H) - lstm(H) + lstm(2 * H) + 4 * (2 * H + 1) * H
    for changes, count in [
        ({"attention": "none"}, base),
        ({"attention": "dot"}, base + 2 * H * H),
        ({"attention": "general"}, base + H * H + 2 * H * H),
        ({"attention": "additive"}, base + (2 * H + 1) * H + 2 * H * H),
        ({"attention": "concat", "input_feeding": True}, base + (2 * H + 1) * H + 2 * H * H + 4 * H * H),
        ({"attention": "additive", "bidirectional": True}, both + (3 * H + 1) * H + 3 * H * H),
    ]:
        shapes = jax.eval_shape(TINY.clone(**changes).init, jax.random.key(0), INPUTS)
        assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count, changes


def test_alignment_is_sown_and_lies_on_the_source():
    _, state = apply(TINY, randomized(TINY), INPUTS, mutable=["intermediates"])
    (weights,) = state["intermediates"]["alignment_weights"]
    assert weights.shape == (B, T, S)
    close(weights.sum(-1), 1)
    assert not weights[np.broadcast_to(np.arange(S)[None, None] >= LENGTHS[:, None, None], (B, T, S))].any()


def test_dropout_acts_in_training_alone():
    rngs = {"dropout": jax.random.key(0), "sampling": jax.random.key(1)}
    for sampling, feeding in [(0.0, False), (0.5, True)]:
        plain = TINY.clone(input_feeding=feeding, scheduled_sampling=sampling)
        model, variables = plain.clone(dropout=0.5), randomized(plain)
        evaluated = [jax.jit(one.apply).lower(variables, INPUTS).as_text() for one in (model, plain)]
        assert evaluated[0] == evaluated[1]
        dropped = apply(model, variables, INPUTS, train=True, rngs=rngs)
        assert np.abs(dropped - apply(plain, variables, INPUTS, train=True, rngs=rngs)).max() > 0.01


def test_a_step_lowers_for_every_device():
    model = TINY.clone(dropout=0.3, scheduled_sampling=0.2, input_feeding=True)
    rngs = {"dropout": jax.random.key(0), "sampling": jax.random.key(1)}
    loss = lambda variables: apply(model, variables, INPUTS, train=True, rngs=rngs).sum()  # noqa: E731
    traced = jax.jit(jax.value_and_grad(loss)).trace(randomized(model))
    assert traced.lower(lowering_platforms=("cpu", "cuda", "tpu"))


@pytest.mark.slow
@pytest.mark.parametrize("cell, dtype", [("gru", "float32"), ("lstm", "bfloat16")])
def test_it_learns_to_write_backwards(cell, dtype):
    text = np.random.default_rng(1).integers(1, 5, (64, 3)).astype(np.int32)
    backwards = text[:, ::-1]
    inputs = {"tokens": text, "targets": np.pad(backwards[:, :-1], ((0, 0), (1, 0)))}
    model = Seq2Seq(
        source_vocabulary=5, target_vocabulary=5, embedding=8, hidden=24, cell=cell, bidirectional=True, dtype=dtype
    )
    variables, optimizer = jax.jit(model.init)(jax.random.key(0), inputs), optax.adam(0.02)

    def loss(variables):
        logits = apply(model, variables, inputs)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, backwards).mean()
        return cross_entropy, (logits.argmax(-1) == backwards).mean()

    def update(state, _):
        variables, moments = state
        measured, gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(variables, updates), moments), measured

    run = jax.jit(lambda state: jax.lax.scan(update, state, length=80))
    losses, accuracies = run((variables, optimizer.init(variables)))[1]
    assert np.isfinite(losses).all() and accuracies[-1] > 0.95, (losses[-1], accuracies[-1])


def test_floats_are_arguments_and_what_is_off_is_part_of_the_program():
    model = Seq2Seq(scheduled_sampling=1.0, forget_bias=0.0)
    validate(model)
    kinds = {name: kind(leaf, annotation) for name, leaf, annotation in children(model)}
    assert {name for name, found in kinds.items() if found == "argument"} == {"scheduled_sampling", "forget_bias"}
    with pytest.raises(UsageError, match=r"scheduled_sampling must be in \[0, 1\], not 1.5"):
        validate(Seq2Seq(scheduled_sampling=1.5))


def test_what_does_not_fit_is_refused():
    init = lambda model, inputs: jax.eval_shape(model.init, jax.random.key(0), inputs)  # noqa: E731
    for model, inputs, message in [
        (TINY, TOKENS, 'an encoder-decoder is called with a mapping of "tokens", "targets" and maybe "lengths"'),
        (TINY, {"tokens": TOKENS}, 'an encoder-decoder is called with a mapping of "tokens", "targets"'),
        (TINY, {"targets": TARGETS}, 'the model reads "tokens", but its inputs are targets'),
        (TINY.clone(attention="dot", bidirectional=True), INPUTS, "dot attention multiplies states of width 5 with"),
        (TINY, {**INPUTS, "lengths": LENGTHS[:2]}, "lengths must be 5 integers, one per sequence"),
    ]:
        with pytest.raises(UsageError, match=message):
            init(model, inputs)
