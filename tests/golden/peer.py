"""What the scripts that make golden outputs have in common: a PyTorch model with drawn weights, and what it gives."""

import pathlib

import numpy as np
import torch
from drawing import images, parameter


def drawn(model: torch.nn.Module) -> torch.nn.Module:
    """Give every parameter and running average the values that belong to its name; the model is in evaluation mode."""
    state = {
        name: tensor if name.endswith("num_batches_tracked") else torch.from_numpy(parameter(name, tuple(tensor.shape)))
        for name, tensor in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model.eval()


def outputs(name: str, model: torch.nn.Module, b: int, h: int, w: int, c: int = 3) -> np.ndarray:
    """Return the logits, computed in float64 and stored as float32, of the images that belong to the model's name."""
    x = torch.from_numpy(images(name, b, h, w, c)).permute(0, 3, 1, 2).double()
    with torch.no_grad():
        return model.double()(x).float().numpy()


def save(script: str, **arrays: np.ndarray) -> None:
    """Write arrays beside the script that made them."""
    path = pathlib.Path(script).with_suffix(".npz")
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {', '.join(f'{name} {list(array.shape)}' for name, array in arrays.items())}")
