"""The fields that all Transformers share, and how their matrices begin."""

import math
from typing import Any, ClassVar, Literal

import flax.linen as nn
from jax.nn.initializers import Initializer

from research.fields import NonNegative, Rate, Size, annotations
from research.layers.normalization import Norm
from research.layers.partition import Rules
from research.layers.remat import Remat
from research.layers.sequences.attention import Implementation
from research.layers.sequences.feed_forward import FeedForwardKind
from research.layers.sequences.positions import Positions, RotaryBase

Initialization = Literal["xavier", "normal", "truncated_normal", "scaled_normal"]


class BlockFields(nn.Module):
    """What all blocks of a Transformer share, be it over tokens or over the patches of an image.

    Over the mesh axis "tensor" heads and hidden units are divided, so that each part of a block needs one sum over the
    devices (Shoeybi et al., "Megatron-LM", 2019, section 3). Kernels that make what is as wide as the model are not:
    with that of the patches divided too, a ViT of two blocks on a mesh of 2 x 1 x 4 had 64 collective operations in
    forward and backward pass, not 9.
    """

    partition: ClassVar[Rules] = (
        (r"\.(query|key|value|hidden|linear)\.(kernel|bias)$", ("tensor",)),
        (r"\.output\.kernel$", ("tensor", None)),
    )

    layers: Size = 4
    """Blocks in each stack."""
    width: Size = 128
    """Features of a token between the blocks."""
    heads: Size = 4
    """Attention heads; they share the width."""
    key_value_heads: Size | None = None
    """Heads of keys and values: None for as many as heads, 1 for multi-query, between for grouped-query attention."""
    feed_forward: FeedForwardKind = "gelu"
    """Nonlinearity of the feed-forward part; geglu, geglu_tanh and swiglu are gated by a third matrix."""
    feed_forward_width: Size | None = None
    """Hidden width of the feed-forward part; None for four times the width."""
    norm: Norm = "layernorm"
    """Kind of normalization."""
    norm_placement: Literal["pre", "post"] = "pre"
    """Normalize what enters each part of a block, and the stack's output; or each sum after the residual connection."""
    norm_epsilon: NonNegative = 1e-5
    """Added to the variance before its root is taken."""
    qk_norm: bool = False
    """Whether queries and keys are normalized, head by head."""
    residual: bool = True
    """Whether the parts of a block are added to what enters them, rather than replace it."""
    bias: bool = True
    """Whether the dense layers of a block have biases."""
    dropout: Rate = 0.0
    """Share dropped of the embeddings, and of what each part of a block gives, in training."""
    attention_dropout: Rate = 0.0
    """Share of the attention weights dropped in training; takes the unfused computation."""
    feed_forward_dropout: Rate = 0.0
    """Share of the hidden feed-forward activations dropped in training."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branches left out in training, example by example; earlier blocks have less, linearly
    from 0."""
    initialization: Initialization = "xavier"
    """Initial matrices: Glorot uniform, or normal with deviation 0.02, as it is, truncated at two deviations (BERT), or
    over the root of twice the layers where a residual branch ends (GPT-2)."""
    remat: Remat = "none"
    """What of each block the backward pass computes anew, to save memory: none, full for all of it, or dots for all but
    products with kernels. On a CPU it saves memory only together with `scan`."""
    scan: bool = False
    """Whether the blocks are one compiled loop over stacked parameters, which compiles faster when they are many."""
    attention_implementation: Implementation = "xla"
    """What computes attention: xla anywhere, cudnn on NVIDIA GPUs alone, in bfloat16."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters, softmax and normalization statistics are float32."""


class TransformerFields(BlockFields):
    """What all Transformers over sequences share; every model of the family has these fields, with these names."""

    # Tables by vocabulary alone: divided by width too, a model of two blocks on a mesh of 2 x 2 x 2 had 111 collective
    # operations, not 36, and XLA warned of involuntary full rematerialization.
    partition: ClassVar[Rules] = (*BlockFields.partition, (r"\btokens\.embedding$", (("tensor", "fsdp"), None)))

    positions: Positions = "sinusoidal"
    """How tokens know where they stand."""
    rotary_base: RotaryBase = 10000.0
    """Base of the wavelengths of rotary positions."""
    window: Size | None = None
    """How many positions away self-attention sees, to each side; None sees all."""
    head_width: Size | None = None
    """Features of a head; None for an equal share of the width."""
    attention_scale: bool = True
    """Whether attention scores are divided by the root of a head's width; in T5 they are not."""
    final_dropout: Rate = 0.0
    """Share dropped of what each stack gives, behind its last norm, in training (T5)."""


def shared(model: BlockFields) -> dict[str, Any]:
    """Return the fields that the parts of `model` have in common with it, by name."""
    fields = TransformerFields if isinstance(model, TransformerFields) else BlockFields
    return {name: getattr(model, name) for name in annotations(fields)}


def initializers(fields: BlockFields) -> tuple[Initializer, Initializer, Initializer]:
    """Return the initializers of dense kernels, of those that end a residual branch, and of embeddings.

    Beside Glorot uniform kernels, embeddings have deviation 1 / sqrt(width), so that their product by sqrt(width) and
    the logits of a tied head are both of order 1 (Vaswani et al., 2017).
    """
    match fields.initialization:
        case "xavier":
            glorot = nn.initializers.glorot_uniform()
            return glorot, glorot, nn.initializers.normal(fields.width**-0.5)
        case "truncated_normal":
            normal = nn.initializers.truncated_normal(0.02)
            return normal, normal, normal
        case "normal" | "scaled_normal":
            normal = nn.initializers.normal(0.02)
            scaled = nn.initializers.normal(0.02 / math.sqrt(2 * fields.layers))
            return normal, scaled if fields.initialization == "scaled_normal" else normal, normal
