"""Building blocks of models: small modules and pure functions."""

from research.layers.activations import Activation, activate
from research.layers.dropout import Dropout
from research.layers.images.channel_normalization import ChannelNorm, ChannelNormalization
from research.layers.images.convolution import Convolution, ConvolutionBlock, ConvolutionUnit, Pooling, pool
from research.layers.images.squeeze_excitation import SqueezeExcitation
from research.layers.normalization import Norm, Normalization
from research.layers.sequences.alignment import Alignment, Scoring
from research.layers.sequences.attention import Attention, KeyValues
from research.layers.sequences.cells import Cell, Nonlinearity
from research.layers.sequences.decoding import Decoded, beam_search, greedy
from research.layers.sequences.feed_forward import FeedForward, FeedForwardKind
from research.layers.sequences.lengths import SequencePooling, pool_steps, valid_steps
from research.layers.sequences.positions import Positions, sinusoidal_2d
from research.layers.sequences.recurrence import Recurrence, StackedRecurrence
from research.layers.sequences.sampling import generate, sample
from research.layers.stochastic_depth import StochasticDepth

__all__ = [
    "Activation",
    "Alignment",
    "Attention",
    "Cell",
    "ChannelNorm",
    "ChannelNormalization",
    "Convolution",
    "ConvolutionBlock",
    "ConvolutionUnit",
    "Decoded",
    "Dropout",
    "FeedForward",
    "FeedForwardKind",
    "KeyValues",
    "Nonlinearity",
    "Norm",
    "Normalization",
    "Pooling",
    "Positions",
    "Recurrence",
    "Scoring",
    "SequencePooling",
    "SqueezeExcitation",
    "StackedRecurrence",
    "StochasticDepth",
    "activate",
    "beam_search",
    "generate",
    "greedy",
    "pool",
    "pool_steps",
    "sample",
    "sinusoidal_2d",
    "valid_steps",
]
