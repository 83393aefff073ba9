"""What `bollard edge watch` draws: a table for each device, one line for each point."""

import math
import time

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drivers.profile import Point
from drivers.row import Quality
from edge.texts import Texts
from edge.watch import Seen, Watched

WIDTH = 100
HEAD_LINES, TABLE_LINES = 3, 5  # around the points
LONGEST_RAW = 24  # characters
STYLES = {
    Quality.GOOD: "green",
    Quality.UNCERTAIN: "yellow",
    Quality.UNPROVEN: "yellow",
    Quality.NOT_SCANNED: "dim",
}


def view(watched: Watched, texts: Texts, height: int | None = None) -> RenderableType:
    """All devices, as they are at this instant; as many of them as fit into `height` lines, one at least."""
    head = texts("watch.through", path=watched.through) if watched.through else texts("watch.direct")
    parts: list[RenderableType] = [Text(head, style="dim")]
    left, hidden = (height or 10**6) - HEAD_LINES, []
    for i, seen in enumerate(watched.devices.values()):
        left -= len(seen.profile.points) + TABLE_LINES if seen.scans else 2
        if left < 0 and i:
            hidden.append(seen.name)
        else:
            parts.append(_device(seen, texts))
    if hidden:
        parts.append(Text(texts("watch.hidden", names=", ".join(hidden)), style="yellow"))
    if watched.trouble:
        parts.append(Text(texts("watch.gone", why=watched.trouble), style="bold red"))
    return Group(*parts)


def _device(seen: Seen, texts: Texts) -> RenderableType:
    link = {True: "linked", False: "away", None: "waiting"}[seen.connected]
    style = {True: "green", False: "bold red", None: "yellow"}[seen.connected]
    title = Text.assemble(
        (seen.name, "bold"), f" · {seen.profile.model} · {seen.endpoint} · ", (texts(f"watch.{link}"), style)
    )
    if not seen.connected and not seen.scans:  # nothing has ever come
        return Group(title, "")
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="", width=WIDTH)
    table.add_column(texts("watch.point"), overflow="fold", min_width=26)
    table.add_column(texts("watch.value"), justify="right", no_wrap=True, min_width=12)
    table.add_column("", no_wrap=True, min_width=3)
    table.add_column(texts("watch.quality"), no_wrap=True, min_width=13)
    table.add_column(texts("watch.age"), justify="right", no_wrap=True, min_width=8)
    table.add_column(texts("watch.raw"), no_wrap=True, min_width=LONGEST_RAW)
    now_s = time.monotonic()
    for i, point in enumerate(seen.profile.points):
        quality = Quality(seen.quality[i])
        value, unit = _value(point, seen.values[i], seen.text.get(i), texts)
        age_s = now_s - seen.came_s[i]
        table.add_row(
            point.name, value, unit,
            Text(f"{quality:x} {texts(f'quality.{quality.name.lower()}')}", STYLES.get(quality, "red")),
            "" if math.isnan(age_s) else texts("watch.seconds", age_s=age_s),
            Text(raw(seen.words.get(i, "")), "dim"),
        )  # fmt: skip
    return table


def _value(point: Point, value: float | None, text: str | None, texts: Texts) -> tuple[str, str]:
    if text is not None:
        return text, ""
    if value is None:
        return "-", point.unit
    meaning = point.codes.get(str(int(value))) if value.is_integer() else None
    return number(value, texts) + (f" {meaning}" if meaning else ""), point.unit


def number(value: float, texts: Texts) -> str:
    """Six digits, thousands apart; integers whole."""
    if not math.isfinite(value):
        return str(value)
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{value:,.0f}".replace(",", "\u202f" if texts.lang == "fr" else ",")
    size = abs(value)
    if not 1e-4 <= size < 1e9:
        return f"{value:.4g}".replace(".", texts("decimal"))
    decimals = max(0, 5 - max(0, math.floor(math.log10(size))))
    shown = f"{value:,.{decimals}f}".rstrip("0").rstrip(".") if decimals else f"{value:,.0f}"
    if texts.lang == "fr":
        shown = shown.replace(",", "\u202f").replace(".", ",")
    return shown


def raw(words: str) -> str:
    """Hex digits by register, shortened where they are many."""
    parted = " ".join(words[i : i + 4] for i in range(0, len(words), 4))
    return parted if len(parted) <= LONGEST_RAW else f"{parted[: LONGEST_RAW - 1]}…"
