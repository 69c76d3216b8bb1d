"""A plain Flax training loop, as its users write it: one process, one compiled step, one trial after another.

    python benchmarks/peers/flax_sweep.py RECIPE.json DATA.npz

Prints one line of JSON: seconds of all trials without imports, what they came to on the validation split in the mean,
how many they were, the parameters of the network, and versions. The data are on the device, indexed inside the step by
a fresh permutation an epoch; the learning rate is an argument of the step, so that it is compiled once. Weights begin
as they do on the other side; JAX keeps every program where JAX_COMPILATION_CACHE_DIR says, and nothing else is set.
"""

import argparse
import dataclasses
import functools
import importlib.metadata
import itertools
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

Batch = dict[str, jax.Array]
Params = Any
State = tuple[Params, optax.OptState]


class MLP(nn.Module):
    """Dense layers with relu between them over the pixels of images [b, h, w, c]."""

    hidden: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        x = batch["image"].reshape(len(batch["image"]), -1)
        for width in self.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.classes)(x)


class CNN(nn.Module):
    """Blocks of 3 x 3 convolution, relu and pooling, dense layers, logits; images [b, h, w, c]."""

    channels: tuple[int, ...]
    dense: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        x = batch["image"]
        for channels in self.channels:
            x = nn.max_pool(nn.relu(nn.Conv(channels, (3, 3))(x)), (2, 2), strides=(2, 2))
        x = x.reshape(len(x), -1)
        for width in self.dense:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(self.classes)(x)


class LSTM(nn.Module):
    """An LSTM layer over features [b, l, d], logits of each sequence's last step."""

    hidden: int
    classes: int

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        outputs: Any = nn.RNN(nn.OptimizedLSTMCell(self.hidden, name="cell"))(batch["features"])  # [b, l, h]
        # What follows a sequence's end does not reach its last step.
        return nn.Dense(self.classes)(outputs[jnp.arange(len(outputs)), batch["lengths"] - 1])


class Transformer(nn.Module):
    """A pre-norm language model with sinusoidal positions and a tied output layer; tokens [b, l]."""

    vocabulary: int
    layers: int
    width: int
    heads: int

    @nn.compact
    def __call__(self, batch: Batch) -> jax.Array:
        tokens, glorot = batch["tokens"], nn.initializers.glorot_uniform()
        embed = nn.Embed(self.vocabulary, self.width, embedding_init=nn.initializers.normal(self.width**-0.5))
        x, mask = embed(tokens) + sinusoidal(tokens.shape[1], self.width)[None], nn.make_causal_mask(tokens)
        for _ in range(self.layers):
            x = x + nn.MultiHeadDotProductAttention(self.heads, kernel_init=glorot)(norm()(x), mask=mask)
            y = nn.gelu(nn.Dense(4 * self.width, kernel_init=glorot)(norm()(x)), approximate=False)
            x = x + nn.Dense(self.width, kernel_init=glorot)(y)
        return embed.attend(norm()(x))


def norm() -> nn.LayerNorm:
    """Return a layer normalization."""
    return nn.LayerNorm(epsilon=1e-5)


def sinusoidal(length: int, width: int) -> np.ndarray:
    """Return positions [length, width], sines and cosines in turn."""
    column = np.arange(width)
    angle = np.arange(length)[:, None] / 10000 ** (column // 2 * 2 / width)
    return np.where(column % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


NETWORKS: dict[str, type[nn.Module]] = {"mlp": MLP, "cnn": CNN, "lstm": LSTM, "transformer": Transformer}


def network_of(recipe: dict[str, Any]) -> nn.Module:
    """Return the network of a recipe, whose sizes of inputs Flax finds out by itself."""
    network, sizes = NETWORKS[recipe["family"]], recipe["network"]
    names = [field.name for field in dataclasses.fields(network) if field.name in sizes]
    return network(**{name: tuple(sizes[name]) if isinstance(sizes[name], list) else sizes[name] for name in names})


def initial(network: nn.Module, key: jax.Array, batch: Batch) -> Params:
    """Return initial parameters; the bias of an LSTM's forget gate begins with ones."""
    params: Params = network.init(key, batch)
    if isinstance(network, LSTM):
        params["params"]["cell"]["hf"]["bias"] = jnp.ones(network.hidden)
    return params


def windows(batch: Batch, length: int, key: jax.Array | None) -> Batch:
    """Return tokens and the tokens that follow, [b, length], of stretches of text that with a key may begin later."""
    stored, count = batch["tokens"], batch["count"]
    start = jnp.zeros_like(count)
    if key is not None:
        start = jax.random.randint(key, count.shape, 0, jnp.clip(count - 1, 1, length))
    here = start[:, None] + jnp.arange(length)[None]
    label = jnp.where(here + 1 < count[:, None], jnp.take_along_axis(stored, here + 1, axis=1), -1)  # -1: not predicted
    return {"tokens": jnp.take_along_axis(stored, here, axis=1), "label": label}


def prepared(recipe: dict[str, Any], batch: Batch, key: jax.Array | None = None) -> Batch:
    """Return what the network is given."""
    return windows(batch, recipe["network"]["length"], key) if recipe["family"] == "transformer" else batch


def cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return the mean loss of all that is predicted."""
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.maximum(label, 0))
    return losses.mean(where=label >= 0)


def compiled(recipe: dict[str, Any]) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """Return what begins a trial, what takes a step of it, and what evaluates it, each compiled once for all trials."""
    network: Any = network_of(recipe)

    @jax.jit
    def begin(key: jax.Array, examples: Batch) -> State:
        """Return parameters and moments before the first step."""
        params = initial(network, key, prepared(recipe, {name: entry[:1] for name, entry in examples.items()}))
        return params, optax.adam(0.0).init(params)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(
        state: State, learning_rate: jax.Array, key: jax.Array, index: int, examples: Batch, rows: np.ndarray
    ) -> tuple[State, jax.Array]:
        """Return parameters and moments after a batch, and its loss before."""
        params, moments = state
        chosen = {name: entry[rows] for name, entry in examples.items()}
        batch = prepared(recipe, chosen, jax.random.fold_in(key, index))

        def loss_of(params: Params) -> jax.Array:
            """Return the loss of the batch."""
            return cross_entropy(network.apply(params, batch), batch["label"])

        loss, gradients = jax.value_and_grad(loss_of)(params)
        updates, moments = optax.adam(learning_rate).update(gradients, moments, params)
        return (optax.apply_updates(params, updates), moments), loss

    @jax.jit
    def evaluate(params: Params, examples: Batch) -> jax.Array:
        """Return accuracy or loss over all examples."""
        batch = prepared(recipe, examples)
        logits = network.apply(params, batch)
        if recipe["metric"] == "loss":
            return cross_entropy(logits, batch["label"])
        return (logits.argmax(axis=-1) == batch["label"]).mean()

    return begin, step, evaluate


def batches(n: int, size: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of batches [size] without end: a fresh permutation an epoch, and batches run on into the next."""
    generator, order = np.random.default_rng(seed), np.empty(0, np.int32)
    while True:
        while len(order) < size:
            order = np.concatenate([order, generator.permutation(n).astype(np.int32)])
        rows, order = order[:size], order[size:]
        yield rows


def main() -> None:
    """Run every learning rate with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data")
    arguments = parser.parse_args()
    with open(arguments.recipe) as file:
        recipe = json.load(file)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    start = time.perf_counter()
    data: dict[str, Batch] = {"train": {}, "validation": {}}
    for name, array in np.load(arguments.data).items():
        split, entry = name.split("/")
        data[split][entry] = jnp.asarray(array)
    begin, step, evaluate = compiled(recipe)
    values = []
    for learning_rate, seed in itertools.product(recipe["learning_rates"], recipe["seeds"]):
        rate, key = jnp.float32(learning_rate), jax.random.key(seed)
        state = begin(key, data["train"])
        rows = batches(len(next(iter(data["train"].values()))), recipe["batch_size"], seed)
        for index in range(recipe["steps"]):
            state, _ = step(state, rate, key, index, data["train"], next(rows))
        params, _ = state
        values.append(float(evaluate(params, data["validation"])))
    found = {
        "seconds": time.perf_counter() - start,
        "score": float(np.mean(values)),
        "trials": len(values),
        "parameters": sum(parameter.size for parameter in jax.tree.leaves(params)),
        "versions": {name: importlib.metadata.version(name) for name in ("flax", "optax", "jax")},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
