"""Parameters under the names that other libraries give them."""

from research.interchange.files import read_tensors, write_tensors
from research.interchange.names import names, published_activation, variants
from research.interchange.tensors import from_tensors, tensor_names, to_tensors
from research.models.naming import Array, Flattened, Names, Part, Pointwise

__all__ = [
    "Array",
    "Flattened",
    "Names",
    "Part",
    "Pointwise",
    "from_tensors",
    "names",
    "published_activation",
    "read_tensors",
    "tensor_names",
    "to_tensors",
    "variants",
    "write_tensors",
]
