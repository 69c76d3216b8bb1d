"""Makes densenet.npz: what torchvision's DenseNet gives, for tests of ours.

    python tests/golden/densenet.py

Needs torch and torchvision (2.14.1 and 0.29.1 were used, on CPU), which are not dependencies of the project. Logits in
evaluation mode.
"""

import torchvision
from peer import drawn, outputs, save

if __name__ == "__main__":
    save(__file__, densenet121=outputs("densenet121", drawn(torchvision.models.densenet121()), 2, 67, 61))
