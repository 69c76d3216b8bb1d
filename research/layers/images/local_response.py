"""Local response normalization."""

import jax


def local_response_normalization(
    x: jax.Array, window: int = 5, k: float = 2.0, alpha: float = 1e-4, beta: float = 0.75
) -> jax.Array:
    """Divide by (k + alpha * sum of squares over `window` neighbouring channels) ** beta, [b, h, w, c] -> the same.

    A channel has window // 2 neighbours on either side, fewer at the ends. Source: Krizhevsky, Sutskever and Hinton,
    "ImageNet classification with deep convolutional neural networks" (2012, section 3.3), with its constants. PyTorch
    and Caffe divide alpha by the window.
    """
    squares = jax.lax.reduce_window(
        jax.lax.square(x),
        x.dtype.type(0),
        jax.lax.add,
        window_dimensions=(1, 1, 1, window),
        window_strides=(1, 1, 1, 1),
        padding=((0, 0), (0, 0), (0, 0), (window // 2, (window - 1) // 2)),
    )  # [b, h, w, c]
    return x / (k + alpha * squares) ** beta
