"""The drawings of the HTML report, as inline SVG.

Strips are drawn in percent of their width, so that they fit a phone as well as a desk while text and dots keep their
size. Colours come from the classes of `style`.
"""

import html
import math
from collections.abc import Iterable, Sequence

from research.ablation.report.axis import Axis, axis
from research.ablation.report.layout import difference_text
from research.ablation.report.learning_curves import Curve
from research.ablation.report.numbers import Scale
from research.ablation.report.tables import Column, Entry

NAMESPACE = "http://www.w3.org/2000/svg"
PAIR = 13  # pixels from the middle of a strip to either row of seeds
WIDTH, HEIGHT, LEFT, TOP = 210, 120, 40, 8  # of the plot in a panel of curves, and the room for its numbers


def forest_strip(entry: Entry, along: Axis, column: Column, scale: Scale, name: str) -> str:
    """Return the mean difference of a cell as a dot, and its interval as a bar; an arrow where it is far away."""
    comparison = entry.comparison
    shapes = _grid(along, column.margin)
    if comparison is None:
        return _strip(34, f"{name}: no difference", shapes)
    low, high = comparison.interval
    if math.isfinite(low):
        shapes += f'<line class="bar" x1="{_x(along, low)}" x2="{_x(along, high)}" y1="50%" y2="50%"/>'
    if along.beyond(comparison.difference):
        shapes += _arrow(along, comparison.difference, "50%")
    else:
        shapes += f'<circle class="dot" cx="{_x(along, comparison.difference)}" cy="50%" r="4.5"/>'
    return _strip(34, f"{name}: {difference_text(entry, scale)}", shapes, entry.verdict or "none")


def pairs_strip(entry: Entry, baseline: Entry, along: Axis, scale: Scale, name: str) -> str:
    """Return the values of a cell below those of the baseline, a line joining what has the same seed."""
    shapes = "".join(
        f'<line class="link" x1="{_x(along, baseline.values[seed])}" x2="{_x(along, entry.values[seed])}" '
        f'y1="{-PAIR}" y2="{PAIR}"/>'
        for seed in sorted(entry.values.keys() & baseline.values.keys())
    )
    shapes += _dots(baseline, along, -PAIR, "of-baseline") + _dots(entry, along, PAIR, "")
    middle = f'<svg y="50%">{shapes}</svg>'  # so that the two rows keep their distance however high the strip is
    label = f"{name}: mean {scale.text(entry.mean)}, baseline {scale.text(baseline.mean)}"
    return _strip(52, label, _grid(along, None, zero=False) + middle, entry.verdict or "none")


def values_strip(entry: Entry, along: Axis, scale: Scale, name: str) -> str:
    """Return the values of a row that is compared with none."""
    middle = f'<svg y="50%">{_dots(entry, along, 0, "")}</svg>'
    return _strip(34, f"{name}: mean {scale.text(entry.mean)}", _grid(along, None, zero=False) + middle)


def axis_strip(along: Axis, power: int, signed: bool) -> str:
    """Return the numbers of an axis."""
    texts = "".join(
        f'<text x="{_x(along, tick)}" y="14" text-anchor="middle">{html.escape(text)}</text>'
        for tick, text in along.texts(5, power, signed)
    )
    return f'<div class="draw" style="min-height:20px"><svg xmlns="{NAMESPACE}" aria-hidden="true">{texts}</svg></div>'


def curve_panel(curve: Curve, baseline: Curve | None, across: Axis, up: Axis) -> str:
    """Return the learning curve of a cell with its band, over that of the baseline."""
    shapes = ""
    for tick, text in up.texts(3):
        y = TOP + _y(up, tick)
        shapes += f'<line class="grid" x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        shapes += f'<text x="{LEFT - 6}" y="{y:.1f}" dy="3.5" text-anchor="end">{html.escape(text)}</text>'
    for tick, text in across.texts(3):
        x = LEFT + _step(across, tick)
        shapes += f'<text x="{x:.1f}" y="{TOP + HEIGHT + 15}" text-anchor="middle">{html.escape(text)}</text>'
    drawn = [("of-baseline" if curve is baseline else "cell", curve)]
    if baseline is not None and curve is not baseline:
        drawn = [("of-baseline", baseline), *drawn]
    lines = "".join(f'<g class="{kind}">{_curve(item, across, up)}</g>' for kind, item in drawn)
    shapes += f'<svg class="plot" x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}">{lines}</svg>'
    label = html.escape(f"{curve.name}: learning curve, last mean {curve.mean[-1]:.4g}")
    box = f"0 0 {LEFT + WIDTH + 16} {TOP + HEIGHT + 20}"
    return f'<svg xmlns="{NAMESPACE}" viewBox="{box}" role="img" aria-label="{label}">{shapes}</svg>'


def curve_axes(curves: Sequence[Curve]) -> tuple[Axis, Axis]:
    """Return axes for steps and values that all panels share.

    Values are those after the first fifth of training, so that the climb at its beginning does not flatten the rest,
    and up to a third more for intervals, of which those of few seeds are wide. They are logarithmic where they span
    more than a factor of thirty.
    """
    last = max(step for curve in curves for step in curve.steps)
    points = [
        (mean, low, high)
        for curve in curves
        for step, mean, low, high in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True)
        if step >= last / 5
    ]
    means = [mean for mean, _, _ in points]
    low, high = min(means), max(means)
    across = Axis(min(0, *(curve.steps[0] for curve in curves)), max(last, 1))
    if low > 0 and high > 30 * low:
        return across, Axis(low / 1.3, high * 1.3, logarithmic=True)
    room = (high - low) / 3
    bounds = [bound for _, *pair in points for bound in pair if math.isfinite(bound)]
    return across, axis([low, high, *(min(max(bound, low - room), high + room) for bound in bounds)])


def _curve(curve: Curve, across: Axis, up: Axis) -> str:
    """Return the band and the line of a curve."""
    bounded = [(step, a, b) for step, a, b in zip(curve.steps, curve.low, curve.high, strict=True) if math.isfinite(a)]
    outline = [(step, a) for step, a, _ in bounded] + [(step, b) for step, _, b in reversed(bounded)]
    band = f'<polygon class="band" points="{_points(outline, across, up)}"/>' if bounded else ""
    line = _points(zip(curve.steps, curve.mean, strict=True), across, up)
    return f'{band}<polyline class="curve" points="{line}"/>'


def _points(pairs: Iterable[tuple[float, float]], across: Axis, up: Axis) -> str:
    """Return the coordinates of a path."""
    return " ".join(f"{_step(across, step):.1f},{_y(up, value):.1f}" for step, value in pairs)


def _step(across: Axis, step: float) -> float:
    """Return where a step is in a panel."""
    return across.at(step) * WIDTH


def _y(up: Axis, value: float) -> float:
    """Return where a value is in a panel."""
    return (1 - up.at(value)) * HEIGHT


def _x(along: Axis, value: float) -> str:
    """Return where a value is in a strip: at the end of the axis where it lies beyond."""
    return f"{100 * min(max(along.at(value), 0), 1):.2f}%"


def _grid(along: Axis, margin: float | None, zero: bool = True) -> str:
    """Return the lines behind a strip, and the band within which differences count as none."""
    shapes = "".join(
        f'<line class="grid" x1="{_x(along, tick)}" x2="{_x(along, tick)}" y1="0" y2="100%"/>'
        for tick in along.ticks(5)
    )
    if margin is not None:
        width = f"{100 * (along.at(margin) - along.at(-margin)):.2f}%"
        shapes += f'<rect class="margin" x="{_x(along, -margin)}" width="{width}" y="0" height="100%"/>'
    if zero:
        shapes += f'<line class="zero" x1="{_x(along, 0)}" x2="{_x(along, 0)}" y1="0" y2="100%"/>'
    return shapes


def _dots(entry: Entry, along: Axis, y: int, kind: str) -> str:
    """Return a dot a seed and a tick at their mean; an arrow where that is far away."""
    shapes = "".join(
        f'<circle class="seed" cx="{_x(along, value)}" cy="{y}" r="3.5"><title>seed {seed}: {value!r}</title></circle>'
        for seed, value in entry.values.items()
        if not along.beyond(value)
    )
    if entry.values and along.beyond(entry.mean):
        shapes += _arrow(along, entry.mean, str(y))
    elif entry.values:
        x = _x(along, entry.mean)
        shapes += f'<line class="mean" x1="{x}" x2="{x}" y1="{y - 7}" y2="{y + 7}"/>'
    return f'<g class="{kind}">{shapes}</g>'


def _arrow(along: Axis, value: float, y: str) -> str:
    """Return an arrow at the end of the axis that a number lies beyond."""
    tip = 9 * along.beyond(value)
    return f'<svg x="{_x(along, value)}" y="{y}"><path class="dot" d="M{tip} 0L{-tip / 3} -6V6Z"/></svg>'


def _strip(height: int, label: str, shapes: str, kind: str = "none") -> str:
    """Return a strip of at least that many pixels; it grows with the name beside it."""
    return (
        f'<div class="draw {kind}" style="min-height:{height}px"><svg xmlns="{NAMESPACE}" role="img" '
        f'aria-label="{html.escape(label)}">{shapes}</svg></div>'
    )
