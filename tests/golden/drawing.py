"""Arrays drawn by name, the same here and where the golden outputs were made, so that weights need not be stored."""

import zlib

import numpy as np


def generator(name: str) -> np.random.Generator:
    """Return the generator that belongs to a name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def parameter(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a parameter or running average under its name in torchvision or timm, float32.

    Kernels keep the variance of what passes through them, about; scales and variances are near 1, all else near 0.
    """
    draw, leaf = generator(name), name.rpartition(".")[2]
    if leaf == "running_var":
        return draw.uniform(0.6, 1.4, shape).astype(np.float32)
    if leaf == "weight" and len(shape) == 1:
        return draw.uniform(0.6, 1.2, shape).astype(np.float32)
    deviation = 0.1 if len(shape) == 1 else np.sqrt(1.5 / np.prod(shape[1:]))
    return (draw.normal(size=shape) * deviation).astype(np.float32)


def images(name: str, b: int, h: int, w: int, c: int = 3) -> np.ndarray:
    """Return the inputs of a model, [b, h, w, c] float32."""
    return generator(f"images of {name}").normal(size=(b, h, w, c)).astype(np.float32)
