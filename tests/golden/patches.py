"""Makes patches.npz: what timm's vision Transformer and MLP-Mixer give, for tests of ours.

    python tests/golden/patches.py

Needs torch and timm (2.14.1 and 1.0.31 were used, on CPU), which are not dependencies of the project. `NAME` are logits
in evaluation mode, for images of 64 x 64 pixels; the vision Transformer "mean" has a mean over patches in place of the
class token.
"""

import timm
from peer import drawn, outputs, save

if __name__ == "__main__":
    vit, size = "vit_small_patch16_224", {"img_size": 64, "num_classes": 10}
    models = {
        "vit": timm.create_model(vit, **size),
        "vit_mean": timm.create_model(vit, **size, global_pool="avg", class_token=False, fc_norm=False),
        "mixer": timm.create_model("mixer_s16_224", **size),
    }
    save(__file__, **{name: outputs(name, drawn(model), 2, 64, 64) for name, model in models.items()})
