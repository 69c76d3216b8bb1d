"""What the backward pass computes anew, rather than keep it from the forward pass."""

from typing import Any, Literal

import flax.linen as nn
import jax

Remat = Literal["none", "full", "dots"]


def remat(target: Any, kind: Remat, **options: Any) -> Any:
    """Return a module class, or a function of a module, whose gradient takes less memory and more time.

    "full" keeps what goes in and computes the rest anew; "dots" also keeps products with matrices that have no batch
    dimension, such as kernels, but not those of attention; "none" returns what it is given. Parameters and their names
    stay as they are. Outside a loop over blocks XLA's compiler for CPUs merges what is computed anew with what it was
    computed from, so that nothing is gained there. `options` are those of `flax.linen.remat`. Source: Chen et al.,
    "Training deep nets with sublinear memory cost" (2016).
    """
    match kind:
        case "none":
            return target
        case "full":
            return nn.remat(target, **options)
        case "dots":
            return nn.remat(target, policy=jax.checkpoint_policies.dots_with_no_batch_dims_saveable, **options)
