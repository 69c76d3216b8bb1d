"""Make golden losses and gradients of distillation with PyTorch, whose KLDivLoss is none of ours.

python tests/golden/distillation.py          # in an environment with PyTorch
"""

import pathlib

import numpy as np
import torch

B, C = 11, 7
generator = np.random.default_rng(5)
student, teacher = (generator.normal(scale=scale, size=(B, C)).astype(np.float32) for scale in (1.5, 3.0))
label = generator.integers(0, C, B)
found = {"student": student, "teacher": teacher, "label": label.astype(np.int32)}
for temperature, share in ((1.0, 0.5), (4.0, 0.9), (20.0, 0.25)):
    logits = torch.tensor(student, dtype=torch.float64, requires_grad=True)
    divergence = torch.nn.KLDivLoss(reduction="batchmean")(
        torch.log_softmax(logits / temperature, dim=1),
        torch.softmax(torch.tensor(teacher, dtype=torch.float64) / temperature, dim=1),
    )
    loss = (1 - share) * torch.nn.functional.cross_entropy(logits, torch.tensor(label))
    loss = loss + share * temperature**2 * divergence
    loss.backward()
    name = f"{temperature:g}_{share:g}"
    found |= {
        f"loss_{name}": loss.item(),
        f"divergence_{name}": divergence.item(),
        f"gradient_{name}": logits.grad.numpy(),
    }

if __name__ == "__main__":
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **found)
