"""Makes resnet.npz: what torchvision's and timm's residual networks give, for tests of ours.

    python tests/golden/resnet.py

Needs torch, torchvision and timm (2.14.1, 0.29.1 and 1.0.31 were used, on CPU), which are not dependencies of the
project. `NAME` are logits in evaluation mode; `train_NAME` those of a training step, and `train_NAME_averages` the
running mean and variance of the last batch normalization after it.
"""

import timm
import torch
import torchvision
from peer import drawn, images, outputs, save

if __name__ == "__main__":
    resnet18 = torchvision.models.resnet18()
    resnet50 = torchvision.models.resnet50()
    arrays = {
        "resnet18": outputs("resnet18", drawn(resnet18), 2, 67, 61),
        "resnet50": outputs("resnet50", drawn(resnet50), 2, 67, 61),
        "seresnet50": outputs("seresnet50", drawn(timm.create_model("seresnet50")), 2, 67, 61),
    }
    for name, model, last in (
        ("resnet18", resnet18, "layer4.1.bn2"),
        ("resnet50", resnet50, "layer4.2.bn3"),
    ):
        x = torch.from_numpy(images(f"training {name}", 3, 67, 61)).permute(0, 3, 1, 2)
        model = drawn(model).double().train()
        arrays[f"train_{name}"] = model(x.double()).detach().float().numpy()
        norm = model.get_submodule(last)
        arrays[f"train_{name}_averages"] = torch.stack([norm.running_mean, norm.running_var]).float().numpy()
    save(__file__, **arrays)
