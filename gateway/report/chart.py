"""A bar chart as SVG text: dark bars for figures, hollow ones for lower bounds, apart in grey print too."""

from html import escape

from gateway.report.document import Bars

WIDTH, HEIGHT = 760, 250
LEFT, RIGHT, TOP, BOTTOM = 64, 8, 26, 26
MOST_LABELS = 12


def bar_chart(bars: Bars) -> str:
    """SVG with a description for screen readers; coordinates have one decimal, so that bytes do not wander."""
    top = max([value for value, _ in bars.ticks] + list(bars.values) + [1e-9])
    inner_w, inner_h = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    step = inner_w / max(len(bars.values), 1)
    every = -(-len(bars.values) // MOST_LABELS)

    def y(value: float) -> float:
        return TOP + inner_h * (1.0 - value / top)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img" font-size="11"'
        f' font-family="system-ui, sans-serif" aria-label="{escape(bars.caption)}">',
        f'<text x="{LEFT}" y="14">{escape(bars.unit)}</text>',
    ]
    for value, text in bars.ticks:
        parts.append(f'<path d="M{LEFT} {y(value):.1f}H{WIDTH - RIGHT}" stroke="#ccc"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    for i, (value, label) in enumerate(zip(bars.values, bars.labels, strict=True)):
        x, height = LEFT + (i + 0.12) * step, max(inner_h * value / top, 0.0)
        look = 'fill="#fff" stroke="#1f4e79" stroke-dasharray="3 2"' if bars.pale[i] else 'fill="#1f4e79"'
        parts.append(
            f'<rect x="{x:.1f}" y="{y(value):.1f}" width="{0.76 * step:.1f}" height="{height:.1f}" {look}/>'
        )
        if i % every == 0:
            middle = LEFT + (i + 0.5) * step
            parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{escape(label)}</text>')
    if any(bars.pale):
        parts.append(f'<rect x="{LEFT + 70}" y="5" width="12" height="10" fill="#fff" stroke="#1f4e79"')
        parts[-1] += ' stroke-dasharray="3 2"/>'
        parts.append(f'<text x="{LEFT + 88}" y="14">{escape(bars.pale_label)}</text>')
    return "\n".join([*parts, "</svg>"])
