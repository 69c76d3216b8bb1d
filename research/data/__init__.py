"""Where batches come from: datasets by name, a batch as a function of the step, exact evaluation.

records = Images("digits").open("train")                  # random access, in dataset order
batches = Batches(records, batch_size=128, seed=0)
batch = gather(batches.feed_at(step))                     # the same numbers wherever the split is kept
"""

from research.data.batches import Batches, Residency, Rows, evaluation_batches, gather, stacked_feeds
from research.data.dataset import Dataset
from research.data.duplicates import count_duplicates
from research.data.images import Images
from research.data.labelled_text import LabelledText
from research.data.order import indices_at
from research.data.pairs import Pairs
from research.data.records import Records
from research.data.sentences import Sentences
from research.data.sequences import Sequences
from research.data.series import Series
from research.data.source import Batch, Data, Split
from research.data.table import Table
from research.data.text import Text

__all__ = [
    "Batch",
    "Batches",
    "Data",
    "Dataset",
    "Images",
    "LabelledText",
    "Pairs",
    "Records",
    "Residency",
    "Rows",
    "Sentences",
    "Sequences",
    "Series",
    "Split",
    "Table",
    "Text",
    "count_duplicates",
    "evaluation_batches",
    "gather",
    "indices_at",
    "stacked_feeds",
]
