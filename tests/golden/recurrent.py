"""Makes recurrent.npz: what PyTorch's recurrent layers give, and their gradients, for tests of ours.

    python tests/golden/recurrent.py

Needs PyTorch (2.13.0 was used, on CPU), which is not a dependency of the project. Computed in float64, stored as
float32. `NAME_plain` is one layer in one direction; `NAME_packed` two layers in both directions over packed sequences
of several lengths, begun from a given state. The loss whose gradients are stored is sum(weight * outputs) plus
sum(state_weight * state) for each array of the final state.
"""

import pathlib

import numpy as np
import torch

B, L, D, H = 5, 7, 3, 2
LENGTHS = (4, 7, 1, 6, 3)


def layer(name: str, **options: object) -> torch.nn.Module:
    """Return the named recurrent layer in float64."""
    kind, _, nonlinearity = name.partition("_")
    if nonlinearity:
        options["nonlinearity"] = nonlinearity
    options = {"input_size": D, "hidden_size": H, "batch_first": True, "dtype": torch.float64, **options}
    return {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[kind](**options)


def case(name: str, packed: bool, seed: int) -> dict[str, np.ndarray]:
    """Return the arrays of one layer: parameters, inputs, outputs, and gradients behind `grad_`."""
    torch.manual_seed(seed)
    module = layer(name, num_layers=2, bidirectional=True) if packed else layer(name)
    rows = 4 if packed else 1
    states = 2 if name == "lstm" else 1
    x = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    start = [torch.randn(rows, B, H, dtype=torch.float64, requires_grad=True) for _ in range(states)]
    if packed:
        inputs = torch.nn.utils.rnn.pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
        outputs, end = module(inputs, tuple(start) if states == 2 else start[0])
        outputs, _ = torch.nn.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
    else:
        outputs, end = module(x)
    end = end if states == 2 else (end,)
    weight = torch.randn_like(outputs)
    state_weights = [torch.randn_like(state) for state in end]
    loss = (weight * outputs).sum() + sum((w * s).sum() for w, s in zip(state_weights, end, strict=True))
    loss.backward()
    arrays = {"x": x, "grad_x": x.grad, "outputs": outputs, "weight": weight}
    for index in range(states):
        arrays |= {f"end_{index}": end[index], f"state_weight_{index}": state_weights[index]}
        if packed:
            arrays |= {f"start_{index}": start[index], f"grad_start_{index}": start[index].grad}
    for key, parameter in module.named_parameters():
        arrays |= {key: parameter, f"grad_{key}": parameter.grad}
    return {key: array.detach().numpy().astype(np.float32) for key, array in arrays.items()}


if __name__ == "__main__":
    found = {"lengths": np.array(LENGTHS, np.int32)}
    for seed, name in enumerate(["rnn_tanh", "rnn_relu", "lstm", "gru"]):
        for packed in (False, True):
            arrays = case(name, packed, 2 * seed + packed)
            found |= {f"{name}_{'packed' if packed else 'plain'}.{key}": array for key, array in arrays.items()}
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **found)
