"""Makes vgg.npz: what torchvision's VGG gives, for tests of ours.

    python tests/golden/vgg.py

Needs torch and torchvision (2.14.1 and 0.29.1 were used, on CPU), which are not dependencies of the project. Logits in
evaluation mode; the hidden dense layers are of 47 and 43 units, so that weights take a few megabytes. Of the feature
maps one side has more pixels than the grid they are averaged to, the other one fewer.
"""

import torchvision
from peer import drawn, outputs, save
from torch.nn import Linear

if __name__ == "__main__":
    arrays = {}
    for name in ("vgg11", "vgg11_bn"):
        model = torchvision.models.get_model(name)
        places = (0, Linear(25088, 47)), (3, Linear(47, 43)), (6, Linear(43, 1000))
        for place, layer in places:
            model.classifier[place] = layer
        arrays[name] = outputs(name, drawn(model), 2, 257, 35)
    save(__file__, **arrays)
