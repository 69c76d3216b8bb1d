"""Building blocks of models: small modules and pure functions."""

from research.layers.activations import Activation, activate
from research.layers.convolution import ConvolutionBlock, Pooling, pool
from research.layers.dropout import Dropout

__all__ = ["Activation", "ConvolutionBlock", "Dropout", "Pooling", "activate", "pool"]
