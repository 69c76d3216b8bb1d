"""Where batches come from: datasets by name, a batch as a function of the step, exact evaluation.

records = Images("digits").open("train")                  # random access, in dataset order
batches = Batches(records, batch_size=128, seed=0)
batch = gather(batches.feed_at(step))                     # the same numbers wherever the split is kept
"""

from research.data.batches import Batches, Residency, Rows, evaluation_batches, gather
from research.data.dataset import Dataset
from research.data.duplicates import count_duplicates
from research.data.images import Images
from research.data.order import indices_at
from research.data.records import Records
from research.data.source import Batch, Data, Split

__all__ = [
    "Batch",
    "Batches",
    "Data",
    "Dataset",
    "Images",
    "Records",
    "Residency",
    "Rows",
    "Split",
    "count_duplicates",
    "evaluation_batches",
    "gather",
    "indices_at",
]
