"""Makes inception.npz: what torchvision's GoogLeNet and Inception v3 give, for tests of ours.

    python tests/golden/inception.py

Needs torch and torchvision (2.14.1 and 0.29.1 were used, on CPU), which are not dependencies of the project. `NAME` are
logits in evaluation mode; `NAME_AUXILIARY` those of an auxiliary head, of feature maps drawn by that name.
"""

import torchvision
from peer import drawn, outputs, save

if __name__ == "__main__":
    googlenet = drawn(torchvision.models.googlenet(init_weights=False))
    inception_v3 = drawn(torchvision.models.inception_v3(init_weights=False))
    save(
        __file__,
        googlenet=outputs("googlenet", googlenet, 2, 67, 61),
        inception_v3=outputs("inception_v3", inception_v3, 2, 91, 83),
        googlenet_auxiliary_0=outputs("googlenet_auxiliary_0", googlenet.aux1, 2, 14, 9, 512),
        googlenet_auxiliary_1=outputs("googlenet_auxiliary_1", googlenet.aux2, 2, 3, 13, 528),
        inception_v3_auxiliary=outputs("inception_v3_auxiliary", inception_v3.AuxLogits, 2, 21, 18, 768),
    )
