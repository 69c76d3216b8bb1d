"""The position-wise feed-forward part of a Transformer block, by name."""

from typing import Literal, get_args

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer

from research.errors import unknown
from research.fields import Rate, Size
from research.layers.activations import gelu, gelu_tanh, silu
from research.layers.dense import Dense
from research.layers.dropout import Dropout

FeedForwardKind = Literal["relu", "gelu", "gelu_tanh", "geglu", "geglu_tanh", "swiglu"]

GATED: tuple[FeedForwardKind, ...] = ("geglu", "geglu_tanh", "swiglu")


class FeedForward(nn.Module):
    """Two dense layers with a nonlinearity between, at every position alike: [..., d] -> [..., d].

    `relu` (Vaswani et al., 2017, eq. 2), `gelu` with the error function (Hendrycks and Gimpel, 2016; BERT),
    `gelu_tanh`, its approximation (GPT-2). The gated ones have a third matrix, f(x W) * (x V), with f the exact gelu in
    `geglu`, its approximation in `geglu_tanh` (T5 1.1) and x * sigmoid(x) in `swiglu` (Shazeer, 2020, eq. 6). `width`
    is the hidden width as it stands: to compare a gated kind at an equal number of parameters, give it two thirds of
    the width.
    """

    width: Size
    kind: FeedForwardKind = "gelu"
    bias: bool = True
    dropout: Rate = 0.0
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    output_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        def dense(width: int, kernel_init: Initializer, name: str) -> Dense:
            return Dense(width, self.bias, dtype=self.dtype, kernel_init=kernel_init, name=name)

        d = x.shape[-1]
        hidden = dense(self.width, self.kernel_init, "hidden")(x)  # [..., width]
        match self.kind:
            case "relu":
                hidden = jax.nn.relu(hidden)
            case "gelu" | "geglu":
                hidden = gelu(hidden)
            case "gelu_tanh" | "geglu_tanh":
                hidden = gelu_tanh(hidden)
            case "swiglu":
                hidden = silu(hidden)
            case _:
                raise unknown("feed-forward layer", self.kind, get_args(FeedForwardKind))
        if self.kind in GATED:
            hidden = hidden * dense(self.width, self.kernel_init, "linear")(x)
        hidden = Dropout(self.dropout, name="dropout")(hidden, train)
        return dense(d, self.output_init, "output")(hidden)  # [..., d]
