"""Optuna with a PyTorch training loop, as its users write it: one process, one trial after another, eager.

    pip install '.[benchmarks]'
    python -m benchmarks.peers.optuna_mlp RECIPE.json DATA.npz

Prints one line of JSON: seconds of the study without imports, the mean validation accuracy of its trials, and how many.
The data are tensors in memory, indexed by a fresh permutation an epoch: faster than a `DataLoader`, which would lose
time on every one of so small batches.
"""

import argparse
import itertools
import json
import time
from typing import Any

import numpy as np
import optuna
import torch
from torch import nn
from torch.nn import functional


def network(widths: list[int]) -> nn.Sequential:
    """Return dense layers with relu between them, normal kernels of variance 1 / inputs and zero biases."""
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        nn.init.normal_(layers[-2].weight, std=inputs**-0.5)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def train(recipe: dict[str, Any], data: dict[str, torch.Tensor], learning_rate: float, seed: int) -> float:
    """Return validation accuracy after training."""
    torch.manual_seed(seed)
    model = network(recipe["widths"])
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate)
    features, labels, size = data["train_features"], data["train_labels"], recipe["batch_size"]
    order = torch.empty(0, dtype=torch.long)
    for _ in range(recipe["steps"]):
        if len(order) < size:  # batches run on from one epoch into the next
            order = torch.cat([order, torch.randperm(len(features))])
        rows, order = order[:size], order[size:]
        loss = functional.cross_entropy(model(features[rows]), labels[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        correct = model(data["validation_features"]).argmax(dim=1) == data["validation_labels"]
    return correct.double().mean().item()


def main() -> None:
    """Run every learning rate with every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("data")
    arguments = parser.parse_args()
    with open(arguments.recipe) as file:
        recipe = json.load(file)
    start = time.perf_counter()
    data = {name: torch.from_numpy(array) for name, array in np.load(arguments.data).items()}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {"learning_rate": recipe["learning_rates"], "seed": recipe["seeds"]}

    def objective(trial: optuna.Trial) -> float:
        """Return what a trial comes to."""
        return train(recipe, data, **{name: trial.suggest_categorical(name, space[name]) for name in space})

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.GridSampler(space))
    study.optimize(objective, n_trials=len(space["learning_rate"]) * len(space["seed"]))
    values = [trial.value for trial in study.trials]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "score": float(np.mean(values)), "trials": len(values)}))


if __name__ == "__main__":
    main()
