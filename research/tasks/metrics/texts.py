"""What written texts come to beside the right ones, by sacrebleu, with the signature that a paper quotes."""

from collections.abc import Sequence
from typing import NamedTuple

from research.tasks.metrics.bleu import scorer


class TextScore(NamedTuple):
    """A score from 0 to 100, and sacrebleu's signature: how texts were cut into tokens, and its version."""

    score: float
    signature: str


def text_scores(written: Sequence[str], targets: Sequence[str]) -> dict[str, TextScore]:
    """Return corpus BLEU and chrF2 of texts, each with one right text.

    BLEU is that of Post, "A Call for Clarity in Reporting BLEU Scores" (2018), chrF that of Popović, "chrF: character
    n-gram F-score for automatic MT evaluation" (2015). Of no texts there is none.

    Raises:
        UsageError: sacrebleu is not installed.
    """
    bleu = scorer()(force=True)  # which keeps it from warning that texts look cut into tokens, as some tokenizers' do
    if not written:
        return {}
    from sacrebleu.metrics import CHRF

    scores = {}
    for name, metric in (("bleu", bleu), ("chrf", CHRF())):
        score = metric.corpus_score(list(written), [list(targets)]).score
        scores[name] = TextScore(float(score), str(metric.get_signature()))
    return scores
