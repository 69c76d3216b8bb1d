"""TFDS builders for what ships inside installed packages; none needs TensorFlow. Imported when a dataset is used."""

from research.data.builders.canvas import DigitCanvas
from research.data.builders.images import AnimalSilhouettes, Digits, Mnist5k
from research.data.builders.pairs import BabelDates, Cmudict
from research.data.builders.sequences import JapaneseVowels
from research.data.builders.series import Co2, Sunspots
from research.data.builders.shapes import ColouredShapes
from research.data.builders.text import PydocTopics, StdlibDocstrings

OWN = {
    builder.name: builder
    for builder in (
        Digits,
        Mnist5k,
        AnimalSilhouettes,
        DigitCanvas,
        ColouredShapes,
        Sunspots,
        Co2,
        JapaneseVowels,
        PydocTopics,
        StdlibDocstrings,
        BabelDates,
        Cmudict,
    )
}
