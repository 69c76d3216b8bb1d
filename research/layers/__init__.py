"""Building blocks of models: small modules and pure functions."""

from research.layers.activations import Activation, activate
from research.layers.alignment import Alignment, Scoring
from research.layers.attention import Attention, KeyValues
from research.layers.cells import Cell, Nonlinearity
from research.layers.convolution import ConvolutionBlock, Pooling, pool
from research.layers.dropout import Dropout
from research.layers.feed_forward import FeedForward, FeedForwardKind
from research.layers.normalization import Norm, Normalization
from research.layers.positions import Positions, sinusoidal_2d
from research.layers.recurrence import Recurrence, StackedRecurrence
from research.layers.sequences import SequencePooling, pool_steps, valid_steps

__all__ = [
    "Activation",
    "Alignment",
    "Attention",
    "Cell",
    "ConvolutionBlock",
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
    "StackedRecurrence",
    "activate",
    "pool",
    "pool_steps",
    "sinusoidal_2d",
    "valid_steps",
]
