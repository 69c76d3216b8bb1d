"""Parameters under the names that other libraries give them."""

from research.interchange.entries import Array, Names, Part
from research.interchange.names import names
from research.interchange.tensors import from_tensors, to_tensors

__all__ = ["Array", "Names", "Part", "from_tensors", "names", "to_tensors"]
