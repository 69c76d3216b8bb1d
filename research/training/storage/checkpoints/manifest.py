"""What is saved beside a state, so that a flipped bit is found and the state of other code is named."""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from research.devices import whole
from research.errors import RunError

# Against accidents it is as good as a cryptographic digest, and takes a fraction of the time.
ALGORITHM = "xxh3_128"


# Manifests of that release say neither which fields a state had nor that its digests are BLAKE2b.
FIELDS_OF_0_1_0 = ("step", "params", "variables", "opt_state", "ema")


class OtherState(RunError):
    """A sound checkpoint of another tree of parameters."""


def manifest(state: Any, **facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is saved beside a state: its leaves, a digest of each, facts about its run, and a digest of all."""
    content = {
        "fields": state._fields,
        "step": int(state.step),
        "leaves": leaves(state),
        "algorithm": ALGORITHM,
        "digests": digests(state),
        **{name: dict(fact) for name, fact in facts.items() if fact},
    }
    return {**content, "digest": digest_json(content)}


def leaves(state: Any) -> dict[str, str]:
    """Return type and shape of every leaf of a state, abstract or not, by path: ``float32(3, 3, 1, 32)``."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def first_difference(saved: dict[str, str], expected: dict[str, str]) -> str:
    """Return the first leaf that differs, in words, or nothing: a parameter where one does, as others follow them."""
    for path in sorted(saved.keys() | expected.keys(), key=lambda path: (not path.startswith(".params"), path)):
        if saved.get(path) != expected.get(path):
            name = re.sub(r"\['?(.*?)'?\]", r".\1", path).lstrip(".")
            return f"{name} is {saved.get(path, 'not there')} in it and {expected.get(path, 'not there')} now"
    return ""


def digests(state: Any, algorithm: str = ALGORITHM) -> dict[str, str]:
    """Return a digest of every leaf of `state` over its path, type, shape and bytes, by path.

    Raises:
        RunError: the algorithm is none of ours.
    """
    new = _hashes(algorithm)

    def digest(path: str, leaf: np.ndarray) -> str:
        content = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)  # without a copy
        found = new(f"{path} {leaf.dtype} {leaf.shape}".encode())
        found.update(content)
        return found.hexdigest()

    found = ((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state))
    return {path: digest(path, whole(leaf)) for path, leaf in found}


def _hashes(algorithm: str) -> Callable[[bytes], Any]:
    """Return what begins a digest of 128 bits."""
    match algorithm:
        case "xxh3_128":
            import xxhash  # only runs and restores need it

            return xxhash.xxh3_128
        case "blake2b":
            return functools.partial(hashlib.blake2b, digest_size=16)
    raise OtherState(f"a newer release saved the checkpoint: its digests are {algorithm}")


def digest_json(tree: dict[str, Any]) -> str:
    """Return a digest of JSON types."""
    return hashlib.blake2b(json.dumps(tree, sort_keys=True).encode(), digest_size=16).hexdigest()
