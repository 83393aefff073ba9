"""Charts as SVG text, apart in grey print too: dark against pale, full against dashed, never by colour alone.

Coordinates have one decimal and nothing hangs on the machine, so the same values give the same bytes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import groupby

WIDTH, HEIGHT = 760, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 10, 26, 26
MOST_LABELS = 12
FEW = 16  # bars that fill the width; fewer stay slender
# the first family that is there counts: a browser's own, or the one that the PDF carries
FONT = "system-ui, 'Libertinus Serif', sans-serif"
DARK, MIDDLE, PALE, GRID = "#1f4e79", "#b35c00", "#c9d8e6", "#ccc"
LOOKS = (f'stroke="{DARK}"', f'stroke="{MIDDLE}" stroke-dasharray="7 3"', 'stroke="#444" stroke-dasharray="2 2"')
HOLLOW = f'fill="#fff" stroke="{DARK}" stroke-dasharray="3 2"'

Ticks = Sequence[tuple[float, str]]  # value and text of each line of a scale


@dataclass
class Plot:
    """A frame with a scale of values; `x` is counted in steps of the abscissa, `steps` in all."""

    unit: str
    ticks: Ticks
    steps: float
    height: int = HEIGHT
    left: int = LEFT
    parts: list[str] = field(default_factory=list)
    _key_x: float = 0.0

    def __post_init__(self) -> None:
        self._key_x = self.left + 14.0 + 7.0 * len(self.unit)
        self.text(self.left, 14, self.unit)
        for value, text in self.ticks:
            y = self.y(value)
            self.parts.append(f'<path d="M{self.left} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
            self.text(self.left - 6, y + 4, text, "end")

    def x(self, step: float) -> float:
        return self.left + (WIDTH - self.left - RIGHT) * step / (self.steps or 1)

    def y(self, value: float) -> float:
        low, high = self.ticks[0][0], self.ticks[-1][0]
        inner = self.height - TOP - BOTTOM
        return TOP + inner * (1.0 - (value - low) / ((high - low) or 1.0))

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{where}>{escape(text)}</text>')

    def bar(self, start: float, stop: float, value: float, look: str, foot: float | None = None) -> None:
        """A standing bar between two steps, from `foot` (the scale's beginning) to `value`."""
        base = self.y(self.ticks[0][0] if foot is None else foot)
        x, y = self.x(start), self.y(value)
        size = f'width="{self.x(stop) - x:.1f}" height="{max(base - y, 0.0):.1f}"'
        self.parts.append(f'<rect x="{x:.1f}" y="{y:.1f}" {size} {look}/>')

    def line(self, points: Iterable[tuple[float, float]], look: str) -> None:
        drawn = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        if drawn:
            self.parts.append(f'<path d="M{drawn}" fill="none" stroke-width="1.2" {look}/>')

    def labels(self, labels: Sequence[tuple[float, str]]) -> None:
        """Texts below the abscissa, thinned so that they do not run into each other."""
        every = max(1, -(-len(labels) // MOST_LABELS))  # of less than an hour there are none
        for step, text in labels[::every]:
            self.text(self.x(step), self.height - 8, text, "middle")

    def key(self, look: str, text: str) -> None:
        """What a look stands for, beside the unit at the top."""
        self.parts.append(f'<rect x="{self._key_x:.1f}" y="5" width="12" height="10" {look}/>')
        self.text(self._key_x + 17, 14, text)
        self._key_x += 36 + 6.2 * len(text)

    def key_line(self, look: str, text: str) -> None:
        x = self._key_x
        self.parts.append(f'<path d="M{x:.1f} 10H{x + 18:.1f}" fill="none" stroke-width="1.2" {look}/>')
        self.text(x + 23, 14, text)
        self._key_x += 42 + 6.2 * len(text)

    def svg(self, alt: str) -> str:
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}"'
            f' height="{self.height}" role="img" font-size="11" font-family="{FONT}" aria-label="{escape(alt)}">'
        )
        return "\n".join([head, *self.parts, "</svg>"])


def bars(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[str], values: Sequence[float],
    pale: Sequence[bool] = (), pale_label: str = "",
) -> str:  # fmt: skip
    """A bar each; a pale one is a lower bound."""
    plot = Plot(unit, ticks, len(values))
    for i, value in enumerate(values):
        look = HOLLOW if pale and pale[i] else f'fill="{DARK}"'
        plot.bar(i + 0.12, i + 0.88, value, look)
    plot.labels([(i + 0.5, label) for i, label in enumerate(labels)])
    if any(pale):
        plot.key(HOLLOW, pale_label)
    return plot.svg(alt)


def load_curve(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[tuple[float, str]], values: Sequence[float | None],
    spans: Sequence[tuple[float, float]], span_label: str,
) -> str:  # fmt: skip
    """A staircase of mean values over pale spans (calls); where a value is unknown nothing is drawn."""
    plot = Plot(unit, ticks, len(values))
    for start, stop in spans:
        plot.bar(start, max(stop, start + 0.001 * len(values)), ticks[-1][0], f'fill="{PALE}"')
    if spans:
        plot.key(f'fill="{PALE}"', span_label)
    staircases(plot, values, LOOKS[0])
    plot.labels(labels)
    return plot.svg(alt)


def load_strips(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[tuple[float, str]], values: Sequence[float | None],
    spans: Sequence[tuple[float, float]], span_label: str, strip: int,
) -> str:  # fmt: skip
    """A long staircase in strips of `strip` steps, one below the other; calls in a lane below each."""
    tall, lane = 62, 7
    count = -(-len(values) // strip)
    plot = Plot(unit, (), strip, height=TOP + count * (tall + lane + 20))
    plot.key(f'fill="{MIDDLE}"', span_label)
    top = ticks[-1][0]
    for n in range(count):
        first, foot = n * strip, TOP + n * (tall + lane + 20) + tall
        last = min(first + strip, len(values))
        for value, text in (ticks[0], ticks[-1]):
            y = foot - tall * value / top
            plot.parts.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
            plot.text(LEFT - 6, y + 4, text, "end")
        for start, run in _runs(values[first:last]):
            corners = [(start + i + d, v) for i, v in enumerate(run) for d in (0, 1)]
            drawn = "L".join(f"{plot.x(x):.1f} {foot - tall * v / top:.1f}" for x, v in corners)
            end = plot.x(start + len(run))
            plot.parts.append(f'<path d="M{plot.x(start):.1f} {foot}L{drawn}L{end:.1f} {foot}Z" fill="{DARK}"/>')
        for start_x, stop_x in spans:
            a, b = max(start_x, first), min(stop_x, last)
            if a < b:
                x, wide = plot.x(a - first), max(plot.x(b - first) - plot.x(a - first), 0.8)
                place = f'x="{x:.1f}" y="{foot + 2}" width="{wide:.1f}" height="{lane - 2}"'
                plot.parts.append(f'<rect {place} fill="{MIDDLE}"/>')
        for step, text in labels:
            if first <= step < last:
                x = plot.x(step - first)
                plot.parts.append(
                    f'<path d="M{x:.1f} {foot - tall}V{foot + lane}" stroke="#999" stroke-width="0.5"/>'
                )
                plot.text(x + 3, foot + lane + 11, text)
    return plot.svg(alt)


def _runs(values: Sequence[float | None]) -> Iterable[tuple[int, list[float]]]:
    """Where known values begin, and those that follow each other."""
    for known, run in groupby(enumerate(values), key=lambda pair: pair[1] is not None):
        if known:
            pairs = list(run)
            yield pairs[0][0], [v for _, v in pairs if v is not None]


def lines(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[tuple[float, str]],
    series: Sequence[tuple[str, Sequence[float | None]]],
) -> str:  # fmt: skip
    """Up to three staircases over one abscissa, told apart by their dashes."""
    plot = Plot(unit, ticks, max((len(values) for _, values in series), default=1))
    for look, (name, values) in zip(LOOKS, series, strict=False):
        staircases(plot, values, look)
        plot.key_line(look, name)
    plot.labels(labels)
    return plot.svg(alt)


def staircases(plot: Plot, values: Sequence[float | None], look: str) -> None:
    """A staircase for each run of known values."""
    for start, run in _runs(values):
        plot.line([(start + i + d, v) for i, v in enumerate(run) for d in (0, 1)], look)


def duration_curve(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[tuple[float, str]], values: Sequence[float], along: str
) -> str:
    """Values in falling order: for how long was at least this much drawn."""
    plot = Plot(unit, ticks, len(values))
    plot.line([(x, v) for i, v in enumerate(sorted(values, reverse=True)) for x in (i, i + 1)], LOOKS[0])
    plot.labels(labels)
    plot.text(plot.left - 14, plot.height - 8, along, "end")  # the unit of the abscissa
    return plot.svg(alt)


def lying_bars(
    alt: str, labels: Sequence[str], values: Sequence[float], texts: Sequence[str], pale: Sequence[bool]
) -> str:
    """A bar a line, with its name before it and its value behind."""
    row, left, room = 19, 150, 110
    height = 8 + row * len(values)
    plot = Plot("", ((0.0, ""),), 1.0, height=height, left=left)
    plot.parts.clear()
    top = max([*values, 1e-9])
    for i, (label, value, text) in enumerate(zip(labels, values, texts, strict=True)):
        y, width = 4 + row * i, (WIDTH - left - RIGHT - room) * max(value, 0.0) / top
        plot.text(left - 8, y + 12, label, "end")
        look = HOLLOW if pale[i] else f'fill="{DARK}"'
        plot.parts.append(f'<rect x="{left}" y="{y + 2}" width="{width:.1f}" height="{row - 6}" {look}/>')
        plot.text(left + width + 6, y + 12, text)
    return plot.svg(alt)


def ranges(
    alt: str, unit: str, ticks: Ticks, labels: Sequence[str], spans: Sequence[tuple[float, float] | None]
) -> str:
    """From where to where: a pale bar each, with a dark end. Nothing where it is unknown."""
    plot = Plot(unit, ticks, max(len(spans), FEW))
    tall = (ticks[-1][0] - ticks[0][0]) * 0.018
    for i, span in enumerate(spans):
        if span is not None:
            plot.bar(i + 0.2, i + 0.8, span[1], f'fill="{PALE}"', foot=span[0])
            plot.bar(i + 0.2, i + 0.8, span[1] + tall, f'fill="{DARK}"', foot=span[1] - tall)
    plot.labels([(i + 0.5, label) for i, label in enumerate(labels)])
    return plot.svg(alt)


def histogram(
    alt: str,
    unit: str,
    ticks: Ticks,
    edges: Sequence[str],
    series: Sequence[tuple[str, Sequence[int]]],
    along: str = "",
) -> str:
    """Counts per class, up to two series side by side; `edges[i]` stands at the begin of class i."""
    count = len(edges) - 1
    plot = Plot(unit, ticks, count)
    looks = (f'fill="{DARK}"', f'fill="#fff" stroke="{MIDDLE}"')
    wide = 0.8 / max(len(series), 1)
    for n, (name, values) in enumerate(series[:2]):
        for i, value in enumerate(values):
            plot.bar(i + 0.1 + n * wide, i + 0.1 + (n + 0.92) * wide, value, looks[n])
        plot.key(looks[n], name)
    plot.labels(list(enumerate(edges)))
    plot.text(plot.left - 14, plot.height - 8, along, "end")
    return plot.svg(alt)
