"""Makes mobile.npz: what torchvision's and timm's networks of inverted residuals give, and ConvNeXt, for tests of ours.

    python tests/golden/mobile.py

Needs torch, torchvision and timm (2.14.1, 0.29.1 and 1.0.31 were used, on CPU), which are not dependencies of the
project. Arrays are logits in evaluation mode, by model.
"""

import timm
from peer import drawn, outputs, save
from torchvision import models

if __name__ == "__main__":
    peers = {
        "mobilenetv1_100": timm.create_model("mobilenetv1_100"),
        "mobilenet_v2": models.mobilenet_v2(),
        "mobilenet_v3_small": models.mobilenet_v3_small(),
        "mobilenet_v3_large": models.mobilenet_v3_large(),
        "efficientnet_b0": models.efficientnet_b0(),
        "tf_efficientnet_lite0": timm.create_model("tf_efficientnet_lite0"),
        "convnext_tiny": models.convnext_tiny(),
    }
    save(__file__, **{name: outputs(name, drawn(model), 2, 67, 58) for name, model in peers.items()})
