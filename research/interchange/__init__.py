"""Parameters under the names that other libraries give them."""

from research.interchange.files import read_tensors, write_tensors
from research.interchange.folders import described_otherwise, from_pretrained, read_weights, save_pretrained
from research.interchange.names import names, published_activation, renamed, variants
from research.interchange.sources import locate, read_generation, read_tokenizer_configuration
from research.interchange.tensors import from_tensors, tensor_names, tensor_shapes, to_tensors
from research.models.naming import Array, Flattened, InputsFirst, Names, Part, Pointwise

__all__ = [
    "Array",
    "Flattened",
    "InputsFirst",
    "Names",
    "Part",
    "Pointwise",
    "described_otherwise",
    "from_pretrained",
    "from_tensors",
    "locate",
    "names",
    "published_activation",
    "read_generation",
    "read_tensors",
    "read_tokenizer_configuration",
    "read_weights",
    "renamed",
    "save_pretrained",
    "tensor_names",
    "tensor_shapes",
    "to_tensors",
    "variants",
    "write_tensors",
]
