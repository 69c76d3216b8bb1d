"""The laptop recipe of nanoGPT, here and in PyTorch: the same text, model, optimizer, schedule and number of steps.

    pip install '.[benchmarks]'
    python -m benchmarks.nanogpt [--seeds 3]

Both sides train the GPT of `experiments.text_transformer` on windows at random places of the same training text and are
evaluated on every token of the same validation text. They differ in their random numbers alone, so several seeds are
run in turn and the losses compared as means. Seconds are those of training without compilation and evaluation.
"""

import math
import statistics
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import parser_of, say_where, write
from experiments.text_transformer import experiment
from research.experiment import Experiment, RunOptions, replace
from research.training import train


class Block(nn.Module):
    """Pre-norm causal self-attention and a gelu feed-forward part, without biases but those of the norms."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width, bias=False)
        self.attention_output = nn.Linear(width, width, bias=False)
        self.hidden = nn.Linear(width, 4 * width, bias=False)
        self.feed_forward_output = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, l, d = x.shape
        parts = self.queries_keys_values(self.attention_norm(x)).view(b, l, 3, self.heads, d // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4)  # [b, heads, l, d / heads]
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_output(attended.transpose(1, 2).reshape(b, l, d))
        return x + self.feed_forward_output(functional.gelu(self.hidden(self.feed_forward_norm(x))))


class GPT(nn.Module):
    """Learned positions, pre-norm blocks, tied output layer."""

    def __init__(self, vocabulary: int, length: int, layers: int, width: int, heads: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        for name, parameter in self.named_parameters():
            if parameter.ndim > 1:
                scale = math.sqrt(2 * layers) if name.endswith("output.weight") else 1.0
                nn.init.normal_(parameter, std=0.02 / scale)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


def train_torch(recipe: Experiment, seed: int) -> tuple[float, float]:
    """Return validation loss in nats per token and seconds of training in PyTorch."""
    torch.manual_seed(seed)
    model, data, optimizer = recipe.model, recipe.data, recipe.optimizer
    text = torch.from_numpy(stream(recipe, "train"))
    network = GPT(model.vocabulary, data.length, model.layers, model.width, model.heads)
    groups = [
        {"params": [p for p in network.parameters() if p.ndim > 1], "weight_decay": optimizer.weight_decay},
        {"params": [p for p in network.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    update = torch.optim.AdamW(groups, betas=(optimizer.b1, optimizer.b2), eps=optimizer.eps)
    start = time.perf_counter()
    for step in range(recipe.steps):
        for group in update.param_groups:
            group["lr"] = float(optimizer.rate(step, recipe.steps))
        places = torch.randint(len(text) - data.length, (recipe.batch_size,))
        windows = torch.stack([text[place : place + data.length + 1] for place in places])
        loss = cross_entropy(network, windows).mean()
        update.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), optimizer.clip_norm)
        update.step()
    seconds = time.perf_counter() - start
    return evaluate_torch(network, torch.from_numpy(stream(recipe, "validation")), data.length), seconds


def cross_entropy(network: GPT, windows: torch.Tensor) -> torch.Tensor:
    """Return the loss of every token but the first of each window [b, l + 1], [b l]."""
    return functional.cross_entropy(network(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten(), reduction="none")


@torch.no_grad()
def evaluate_torch(network: GPT, text: torch.Tensor, length: int) -> float:
    """Return the mean loss of every token but the first, in windows of `length` one after another."""
    total = 0.0
    for place in range(0, len(text) - 1, length):
        total += cross_entropy(network, text[None, place : place + length + 1]).double().sum().item()
    return total / (len(text) - 1)


def train_here(recipe: Experiment, seed: int) -> tuple[float, float]:
    """Return validation loss in nats per token and seconds of training in this repository."""
    with tempfile.TemporaryDirectory() as folder:
        options = RunOptions(evaluate_every=0, checkpoint_every=10**9, pictures=False, progress="none")
        result = train(replace(recipe, {"seed": seed}), folder, options)
    return result.metrics["validation"]["loss"], result.seconds["input"] + result.seconds["step"]


def stream(recipe: Experiment, split: str) -> np.ndarray:
    """Return the token ids of a split, one after another, int64 [n]."""
    records = recipe.data.open(split)
    batch = recipe.data.preprocess(records.arrays())
    first, targets, lengths = (np.asarray(batch[name]) for name in ("tokens", "targets", "lengths"))
    followed = np.concatenate([row[:length] for row, length in zip(targets, lengths, strict=True)])
    return np.concatenate([first[0, :1], followed]).astype(np.int64)


SIDES = {"here": train_here, "torch": train_torch}


def main() -> None:
    """Measure in turn, print a row a seed and write both files."""
    parser = parser_of(__doc__, "nanogpt")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=experiment.steps)
    arguments = parser.parse_args()
    recipe = replace(experiment, {"steps": arguments.steps})
    on = machine(torch=torch.__version__)
    print(heading(on))
    losses: dict[str, list[float]] = {side: [] for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    print(f"{'seed':>6} {'loss here':>10} {'loss torch':>11} {'seconds here':>13} {'seconds torch':>14}")
    for seed, side in in_turn(list(SIDES), arguments.seeds):
        loss, spent = SIDES[side](recipe, seed)
        losses[side].append(loss)
        seconds[side].append(spent)
        if len(losses["here"]) == len(losses["torch"]):
            print(f"{seed:>6} {losses['here'][seed]:>10.4f} {losses['torch'][seed]:>11.4f}", end=" ")
            print(f"{seconds['here'][seed]:>13.1f} {seconds['torch'][seed]:>14.1f}", flush=True)
    here, there = (statistics.mean(losses[side]) for side in SIDES)
    rows = compare({side: [[spent] for spent in each] for side, each in seconds.items()}, "here")
    print(f"{'mean':>6} {here:>10.4f} {there:>11.4f}")
    print(f"difference here - torch {here - there:+.4f}; torch takes {rows['torch']['ratio']:.2f} times the seconds")
    content = {"machine": on, "steps": arguments.steps, "table": rows, "losses": losses, "seconds": seconds}
    panels = [Bars("validation", "nats a character", losses, ("here",)), Bars("training", "s", seconds, ("here",))]
    write(arguments.output, "nanogpt", content, panels)
    say_where(arguments.output, "nanogpt")


if __name__ == "__main__":
    main()
