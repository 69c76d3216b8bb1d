"""Makes alexnet.npz: what torchvision's AlexNet gives, for tests of ours.

    python tests/golden/alexnet.py

Needs torch and torchvision (2.14.1 and 0.29.1 were used, on CPU), which are not dependencies of the project. Logits in
evaluation mode; the hidden dense layers are of 47 and 43 units, so that weights take a few megabytes. Of the feature
maps one side has more pixels than the grid they are averaged to, the other one fewer.
"""

import torchvision
from peer import drawn, outputs, save
from torch.nn import Linear

if __name__ == "__main__":
    model = torchvision.models.alexnet()
    model.classifier[1], model.classifier[4], model.classifier[6] = Linear(9216, 47), Linear(47, 43), Linear(43, 1000)
    save(__file__, alexnet=outputs("alexnet", drawn(model), 2, 259, 67))
