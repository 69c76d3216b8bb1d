"""Makes xception.npz: what timm's Xception gives, for tests of ours.

    python tests/golden/xception.py

Needs torch and timm (2.14.1 and 1.0.31 were used, on CPU), which are not dependencies of the project. Logits in
evaluation mode.
"""

import timm
from peer import drawn, outputs, save

if __name__ == "__main__":
    save(__file__, xception=outputs("xception", drawn(timm.create_model("legacy_xception")), 2, 67, 61))
