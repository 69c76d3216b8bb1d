"""Training steps in PyTorch as its users write them, timed one by one: see `benchmarks.train_step`.

    python benchmarks/peers/steps.py MODEL BATCH.npz [--compile] [--threads 2] [--memory STEPS]

With --memory takes so many steps and prints the greatest resident memory at three moments: see `benchmarks.memory`.
Otherwise, once warm, prints a line of JSON, then for every line of standard input, a number of steps, the seconds of
each as JSON.
Modules are PyTorch's own where it has them; the update is Adam, fused.
"""

import argparse
import json
import os
import sys
import time

import numpy as np
import torch
from resident import greatest
from torch import nn
from torch.nn import functional


class CNN(nn.Module):
    """Two blocks of 3 x 3 convolution, relu and pooling, a dense layer of 128, logits; images [b, h, w, c]."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            nn.Conv2d(1, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(7 * 7 * 64, 128),
            nn.ReLU(),
            nn.Linear(128, 10),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.blocks(image.permute(0, 3, 1, 2).contiguous())


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions added to what enters them."""

    def __init__(self, before: int, channels: int, stride: int) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(before, channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.shortcut = nn.Sequential()
        if stride != 1 or before != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(before, channels, 1, stride, bias=False), nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.relu(self.branch(x) + self.shortcut(x))


class ResNet18(nn.Module):
    """A 3 x 3 stem, four stages of two blocks, the mean over pixels, logits; images [b, h, w, c]."""

    def __init__(self) -> None:
        super().__init__()
        layers = [nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        before = 64
        for channels, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
            layers += [ResidualBlock(before, channels, stride), ResidualBlock(channels, channels, 1)]
            before = channels
        self.features, self.logits = nn.Sequential(*layers), nn.Linear(512, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits(self.features(image.permute(0, 3, 1, 2).contiguous()).mean((2, 3)))


class LSTM(nn.Module):
    """Two LSTM layers of 128 units, logits of the last step; features [b, l, d]."""

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.logits = nn.LSTM(32, 128, num_layers=2, batch_first=True), nn.Linear(128, 10)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.logits(self.layers(features)[0][:, -1])


class Block(nn.Module):
    """Self-attention and a gelu feed-forward part; norms before each (GPT-2) or after each sum (BERT)."""

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.attention_norm, self.feed_forward_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.attention_output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.causal:
            x = x + self.attend(self.attention_norm(x))
            return x + self.feed_forward(self.feed_forward_norm(x))
        x = self.attention_norm(x + self.attend(x))
        return self.feed_forward_norm(x + self.feed_forward(x))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        b, l, d = x.shape
        q, k, v = self.queries_keys_values(x).view(b, l, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.attention_output(attended.transpose(1, 2).reshape(b, l, d))


class GPT(nn.Module):
    """Six blocks of width 384, learned positions, a tied output layer; tokens [b, l]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(65, 384), nn.Embedding(256, 384)
        self.blocks, self.norm = nn.Sequential(*(Block(384, 6, causal=True) for _ in range(6))), nn.LayerNorm(384)
        nn.init.normal_(self.tokens.weight, std=0.02)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        return self.norm(self.blocks(x)) @ self.tokens.weight.T


class Bert(nn.Module):
    """BERT-small with a classifier on its pooled first token; tokens [b, l]."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(30522, 512), nn.Embedding(128, 512)
        self.segments, self.norm = nn.Embedding(2, 512), nn.LayerNorm(512)
        self.blocks = nn.Sequential(*(Block(512, 8, causal=False) for _ in range(4)))
        self.pooler, self.logits = nn.Linear(512, 512), nn.Linear(512, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]] + self.segments.weight[0]
        return self.logits(torch.tanh(self.pooler(self.blocks(self.norm(x))[:, 0])))


def mlp() -> nn.Module:
    """Return two hidden layers of 256 over 784 features."""
    return nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))


MODELS = {"mlp": mlp, "cnn": CNN, "resnet18": ResNet18, "lstm": LSTM, "gpt": GPT, "gpt_remat": GPT, "bert": Bert}
INPUTS = ("features", "image", "tokens")


def product() -> float:
    """Return the FLOPs a second of a product of two large matrices."""
    matrix = torch.ones(2048, 2048)

    def timed() -> float:
        """Multiply and return the seconds."""
        start = time.perf_counter()
        matrix @ matrix
        return time.perf_counter() - start

    return 2 * 2048**3 / min(timed() for _ in range(10))


def main() -> None:
    """Warm up, then take as many steps as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=MODELS)
    parser.add_argument("batch")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", type=int, metavar="STEPS")
    arguments = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: arguments.threads])
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    memory = {"start": greatest()} if arguments.memory else {}
    batch = {name: torch.from_numpy(array) for name, array in np.load(arguments.batch).items()}
    inputs = next(batch[name] for name in INPUTS if name in batch)
    inputs = inputs.long() if inputs.dtype == torch.int32 else inputs
    labels = batch.get("label", batch.get("targets")).long().flatten()
    model = MODELS[arguments.model]()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    forward = torch.compile(model) if arguments.compile else model

    def step() -> float:
        """Take a step and return its seconds."""
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = functional.cross_entropy(forward(inputs).flatten(0, -2), labels)
        loss.backward()
        optimizer.step()
        loss.item()
        return time.perf_counter() - start

    if arguments.memory:
        memory["built"] = greatest()
        for _ in range(arguments.memory):
            step()
        print(json.dumps({**memory, "peak": greatest(), "torch": torch.__version__}))
        return
    for _ in range(3):
        step()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    found = {"parameters": parameters, "product": product(), "torch": torch.__version__}
    print(json.dumps(found), flush=True)
    for line in sys.stdin:
        print(json.dumps([step() for _ in range(int(line))]), flush=True)


if __name__ == "__main__":
    main()
