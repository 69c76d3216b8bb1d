"""A layer that is used without an experiment, which checks its fields, says itself what it does not know."""

import jax
import jax.numpy as jnp
import pytest

from research.errors import UsageError
from research.layers import activate
from research.layers.images.channel_normalization import ChannelNormalization
from research.layers.normalization import Normalization
from research.layers.sequences.feed_forward import FeedForward
from research.models import vgg


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Normalization("batchnorm"), 'unknown normalization "batchnorm"; valid names are layernorm, rmsnorm'),
        (ChannelNormalization("batch"), 'unknown normalization "batch"; did you mean "batchnorm"'),
        (vgg(11, norm="batch"), 'unknown normalization "batch"; did you mean "batchnorm"'),
        (FeedForward(8, "swig"), 'unknown feed-forward layer "swig"; did you mean "swiglu"'),
    ],
)
def test_of_a_layer(module, said):
    with pytest.raises(UsageError, match=said):
        jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((2, 224, 224, 3)))


def test_of_an_activation():
    with pytest.raises(UsageError, match='unknown activation "swish"; did you mean "hardswish"'):
        activate("swish", jnp.zeros(3))
