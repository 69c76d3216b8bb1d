"""What a journal looks like, of which a picture says what can be read from it."""

import matplotlib.figure
import pytest

from research.training.display.curves import draw_curves


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Draws losses of two splits by step, and returns the axes."""

    def draw(train, test):
        figures = []
        save = matplotlib.figure.Figure.savefig
        monkeypatch.setattr(matplotlib.figure.Figure, "savefig", lambda *a, **b: (figures.append(a[0]), save(*a, **b)))
        splits = {"train": train, "test": test}
        lines = [
            {"split": split, "step": step, "loss": loss} for split, points in splits.items() for step, loss in points
        ]
        draw_curves(lines, ("loss",), tmp_path / "curves.png")
        return figures[0].axes[0]

    return draw


def test_a_loss_that_falls_by_decades_has_a_logarithmic_axis(drawn):
    assert drawn([(1, 2.0), (2, 0.1)], [(2, 0.3)]).get_yscale() == "log"
    for last in (0.5, 0.0, float("nan")):  # within a decade there is no power of ten to say where a point is
        assert drawn([(1, 2.0), (2, last)], [(2, 0.6)]).get_yscale() == "linear"


def test_a_single_report_is_seen_and_steps_are_whole(drawn):
    axes = drawn([(20, 2.0)], [(20, 1.9)])
    assert [line.get_marker() for line in axes.lines] == ["o", "o"]
    assert all(tick == round(tick) for tick in axes.get_xticks())
