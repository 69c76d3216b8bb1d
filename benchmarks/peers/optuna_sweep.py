"""Optuna with a PyTorch training loop, as its users write it: one process, one trial after another, eager.

    python benchmarks/peers/optuna_sweep.py RECIPE.json DATA.npz

Prints one line of JSON: seconds of the study without imports, what the trials came to on the validation split in the
mean, how many they were, the parameters of the network, and versions. The data are tensors in memory, indexed by a
fresh permutation an epoch: faster than a `DataLoader`, which would lose time on every one of so small batches. Weights
begin as they do on the other side, so that the scores are comparable; all else is PyTorch's own way.
"""

import argparse
import itertools
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import torch
from steps import Block
from torch import nn
from torch.nn import functional

Batch = dict[str, torch.Tensor]


class MLP(nn.Module):
    """Dense layers with relu between them over the pixels of images [b, h, w, c]."""

    def __init__(self, hidden: list[int], pixels: int, classes: int) -> None:
        super().__init__()
        widths = [pixels, *hidden]
        layers = [(nn.Linear(*pair), nn.ReLU()) for pair in itertools.pairwise(widths)]
        self.layers = nn.Sequential(nn.Flatten(), *itertools.chain(*layers), nn.Linear(widths[-1], classes))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.layers(batch["image"])


class CNN(nn.Module):
    """Blocks of 3 x 3 convolution, relu and pooling, dense layers, logits; images [b, h, w, c]."""

    def __init__(self, channels: list[int], dense: list[int], side: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([1, *channels]):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
            side //= 2
        layers.append(nn.Flatten())
        for before, after in itertools.pairwise([channels[-1] * side**2, *dense]):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(dense[-1], classes))

    def forward(self, batch: Batch) -> torch.Tensor:
        return self.layers(batch["image"].permute(0, 3, 1, 2))


class LSTM(nn.Module):
    """An LSTM layer over features [b, l, d], logits of each sequence's last step."""

    def __init__(self, hidden: int, channels: int, classes: int) -> None:
        super().__init__()
        self.recurrence, self.logits = nn.LSTM(channels, hidden, batch_first=True), nn.Linear(hidden, classes)

    def forward(self, batch: Batch) -> torch.Tensor:
        outputs, _ = self.recurrence(batch["features"])  # what follows a sequence's end does not reach its last step
        return self.logits(outputs[torch.arange(len(outputs)), batch["lengths"].long() - 1])


class Transformer(nn.Module):
    """A language model with sinusoidal positions and a tied output layer; tokens [b, l]."""

    def __init__(self, vocabulary: int, layers: int, width: int, heads: int, length: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        angle = torch.arange(length)[:, None] / 10000 ** (torch.arange(width) // 2 * 2 / width)  # [l, width]
        even = torch.arange(width) % 2 == 0
        self.register_buffer("positions", torch.where(even, angle.sin(), angle.cos()), persistent=False)
        self.blocks = nn.Sequential(*(Block(width, heads, causal=True) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, batch: Batch) -> torch.Tensor:
        x = self.tokens(batch["tokens"]) + self.positions
        return self.norm(self.blocks(x)) @ self.tokens.weight.T


NETWORKS: dict[str, Callable[..., nn.Module]] = {"mlp": MLP, "cnn": CNN, "lstm": LSTM, "transformer": Transformer}


def begin(module: nn.Module) -> None:
    """Set the weights of one layer: normal or Glorot uniform as on the other side, biases zero."""
    match module:
        case Block():
            for dense in (module.queries_keys_values, module.attention_output, *module.feed_forward):
                if isinstance(dense, nn.Linear):
                    joined = dense is module.queries_keys_values  # three matrices in one
                    for weight in dense.weight.data.chunk(3 if joined else 1):
                        nn.init.xavier_uniform_(weight)
        case nn.Linear() | nn.Conv2d():
            nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
            nn.init.zeros_(module.bias)
        case nn.Embedding():
            nn.init.normal_(module.weight, std=module.embedding_dim**-0.5)
        case nn.LSTM():
            nn.init.normal_(module.weight_ih_l0, std=module.input_size**-0.5)
            for gate in module.weight_hh_l0.data.chunk(4):
                nn.init.orthogonal_(gate)
            nn.init.zeros_(module.bias_ih_l0)
            nn.init.zeros_(module.bias_hh_l0)
            nn.init.ones_(module.bias_ih_l0.data[module.hidden_size : 2 * module.hidden_size])  # the forget gate's


def windows(batch: Batch, length: int, jitter: bool) -> Batch:
    """Return tokens and the tokens that follow, [b, length], of stretches of text that may begin later."""
    stored, count = batch["tokens"], batch["count"]
    start = torch.zeros_like(count)
    if jitter:
        start = (torch.rand(len(count)) * (count - 1).clamp(1, length)).to(count.dtype)
    here = start[:, None] + torch.arange(length)
    label = torch.where(here + 1 < count[:, None], stored.gather(1, here + 1), -100)  # -100: not predicted
    return {"tokens": stored.gather(1, here), "label": label}


def prepared(recipe: dict[str, Any], batch: Batch, jitter: bool) -> Batch:
    """Return what the network is given."""
    return windows(batch, recipe["network"]["length"], jitter) if recipe["family"] == "transformer" else batch


def cross_entropy(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of all that is predicted."""
    return functional.cross_entropy(logits.flatten(0, -2), label.flatten())


def train(recipe: dict[str, Any], data: dict[str, Batch], learning_rate: float, seed: int) -> float:
    """Return validation accuracy or loss after training."""
    torch.manual_seed(seed)
    network = NETWORKS[recipe["family"]](**recipe["network"]).apply(begin)
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    examples, size = data["train"], recipe["batch_size"]
    n = len(next(iter(examples.values())))
    order = torch.empty(0, dtype=torch.long)
    for _ in range(recipe["steps"]):
        while len(order) < size:  # batches run on from one epoch into the next
            order = torch.cat([order, torch.randperm(n)])
        rows, order = order[:size], order[size:]
        batch = prepared(recipe, {name: entry[rows] for name, entry in examples.items()}, jitter=True)
        loss = cross_entropy(network(batch), batch["label"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        batch = prepared(recipe, data["validation"], jitter=False)
        logits = network(batch)
        if recipe["metric"] == "loss":
            return cross_entropy(logits, batch["label"]).item()
        return (logits.argmax(dim=-1) == batch["label"]).double().mean().item()


def main() -> None:
    """Run every learning rate with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data")
    arguments = parser.parse_args()
    with open(arguments.recipe) as file:
        recipe = json.load(file)
    start = time.perf_counter()
    data: dict[str, Batch] = {"train": {}, "validation": {}}
    for name, array in np.load(arguments.data).items():
        split, entry = name.split("/")
        data[split][entry] = torch.from_numpy(array)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {"learning_rate": recipe["learning_rates"], "seed": recipe["seeds"]}

    def objective(trial: optuna.Trial) -> float:
        """Return what a trial comes to."""
        return train(recipe, data, **{name: trial.suggest_categorical(name, space[name]) for name in space})

    direction = "minimize" if recipe["metric"] == "loss" else "maximize"
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.GridSampler(space))
    study.optimize(objective, n_trials=len(space["learning_rate"]) * len(space["seed"]))
    values = [trial.value for trial in study.trials]
    seconds = time.perf_counter() - start
    network = NETWORKS[recipe["family"]](**recipe["network"])
    found = {
        "seconds": seconds,
        "score": float(np.mean(values)),
        "trials": len(values),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": {"torch": torch.__version__, "optuna": optuna.__version__},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
