"""Where batches come from: datasets by name, a batch as a function of the step, exact evaluation.

records = Images("digits").open("train")                  # random access, in dataset order
batches = Batches(records, batch_size=128, seed=0)
batch = gather(batches.input_at(step))                     # the same numbers wherever the split is kept
"""

from research.data.batching.batches import (
    Batches,
    IndexedBatch,
    Residency,
    evaluation_batches,
    gather,
    hold,
    stacked_batches,
)
from research.data.batching.order import indices_at
from research.data.batching.training_order import TrainingOrder
from research.data.dataset import Dataset
from research.data.images.images import Images
from research.data.orders import Bucketed, Uniform
from research.data.series.sequences import Sequences
from research.data.series.series import Series
from research.data.source import Batch, Data
from research.data.splits import Split
from research.data.storage.duplicates import count_duplicates
from research.data.storage.records import Records
from research.data.tables.table import Table
from research.data.text.labelled_text import LabelledText
from research.data.text.pairs import Pairs
from research.data.text.sentences import Sentences
from research.data.text.spans import Spans
from research.data.text.text import Text
from research.data.text.tokenization import FromFile, Trained

__all__ = [
    "Batch",
    "Batches",
    "Bucketed",
    "Data",
    "Dataset",
    "FromFile",
    "Images",
    "IndexedBatch",
    "LabelledText",
    "Pairs",
    "Records",
    "Residency",
    "Sentences",
    "Sequences",
    "Series",
    "Spans",
    "Split",
    "Table",
    "Text",
    "Trained",
    "TrainingOrder",
    "Uniform",
    "count_duplicates",
    "evaluation_batches",
    "gather",
    "hold",
    "indices_at",
    "stacked_batches",
]
