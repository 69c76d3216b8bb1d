"""What decides between forms besides the platform."""

import jax

forward_mode = jax.make_user_context(False)
"""Within `with forward_mode(True):` forward mode, as in `jax.jvp` and `jax.hessian`, works besides reverse mode.

Kernels ask for `forward_mode.value` while a function is traced. It is part of the key of every cache of JAX's traces
and compiled functions, so what was traced without it is traced anew within it.
"""
