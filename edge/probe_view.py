"""What `bollard edge probe` shows of a Modbus device."""

import math
from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drivers.plausible import Finding
from drivers.probe import Hint, Span
from drivers.probe_match import Match, Reading
from drivers.probe_words import ORDERS, Guess, float_of, guesses, int_of, is_sane
from drivers.row import Quality
from edge.probe_command import Found, shown_matches
from edge.texts import Texts
from edge.watch_view import number, raw

WIDTH = 100
UNITS = {"hz": "Hz", "v": "V"}
BITS_PER_LINE = 16


def view(found: Found, texts: Texts, live: bool = False) -> RenderableType:
    """All that was seen, as a person reads it from top to bottom; live the registers last: they may be many."""
    parts: list[RenderableType] = [Text(found.endpoint, style="bold")]
    if found.agent:
        parts.append(Text(texts("probe.through", path=found.agent), style="dim"))
    parts += [_hint(hint, texts) for hint in found.hints]
    if found.plate:
        parts.append(Text(texts("probe.plate", plate=" · ".join(found.plate))))
    if found.span is not None:
        registers = [_bits(found.span, texts) if _is_bits(found.span) else _words(found, found.span, texts)]
        rest = [*(Text(line) for line in _gaps(found.span, texts)), _matches(found.matches, texts)]
        parts += [*rest, Text(texts("probe.live"), "dim"), *registers] if live else [*registers, *rest]
    if found.reading is not None:
        parts.append(_reading(found.reading, texts))
        parts += [Text(line) for line in _findings(found.reading, texts)]
    if found.trouble:
        parts.append(Text(found.trouble, style="bold red"))
    if found.requests:  # those that looked for anybody at all are in the hints
        parts.append(Text(texts("probe.requests", requests=found.requests), style="dim"))
    return Group(*parts)


def _hint(hint: Hint, texts: Texts) -> Text:
    return Text("▸ " + texts(f"probe.{hint.key}", **hint.values), style="bold yellow")


def _is_bits(span: Span) -> bool:
    return span.table in ("coil", "discrete")


def _words(found: Found, span: Span, texts: Texts) -> Table:
    table = Table(
        title=span.table, title_justify="left", box=box.SIMPLE_HEAD, width=WIDTH, padding=0, show_edge=False
    )
    for name, width in (("", 5), ("hex", 4), ("uint16", 6), ("int16", 6), ("int32", 11)):
        table.add_column(name, justify="right", no_wrap=True, min_width=width)
    for order in ORDERS:
        table.add_column(order, justify="right", no_wrap=True, min_width=8)
    table.add_column("", no_wrap=True, min_width=2)
    table.add_column(texts("probe.plausible"), no_wrap=True, min_width=24)
    likely, words = guesses(span.words), span.words
    for address in sorted(words):
        word, after = words[address], words.get(address + 1)
        guess = likely.get(address)
        floats = ["" if after is None else _float(order, word, after, guess) for order in ORDERS]
        signed = word - 0x1_0000 if word & 0x8000 else word
        both = "" if after is None else str(int_of("abcd", word, after))
        letters = "".join(chr(b) if 0x20 <= b < 0x7F else "·" for b in word.to_bytes(2, "big"))
        style = "reverse" if address in found.changed else ""
        table.add_row(
            str(address), Text(f"{word:04x}", style), str(word), str(signed) if signed < 0 else "",
            Text(both, "green" if guess is not None and (guess.type, guess.order) == ("int32", "abcd") else ""),
            *floats, letters, _guess(guess, texts),
        )  # fmt: skip
    return table


def _float(order: str, high: int, low: int, guess: Guess | None) -> Text:
    value = float_of(order, high, low)
    if guess is not None and (guess.type, guess.order) == ("float32", order):
        return Text(short(value), "bold green")
    return Text(short(value), "" if is_sane(value) else "dim")


def short(value: float) -> str:
    """Four digits in eight characters."""
    if not math.isfinite(value):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e7:
        return next((text for digits in (7, 6, 5, 4) if len(text := f"{value:.{digits}g}") <= 8), f"{value:.3g}")
    mantissa, _, exponent = f"{value:.1e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def _guess(guess: Guess | None, texts: Texts) -> str:
    if guess is None:
        return ""
    if isinstance(guess.value, str):
        return f'text "{guess.value}"'
    unit = f" {UNITS[guess.quantity]}?" if guess.quantity else ""
    value = number(guess.value / guess.divisor, texts)
    divided = f" ÷{guess.divisor}" if guess.divisor > 1 else ""
    order = f" {guess.order}" if guess.order else ""
    return f"{guess.type}{order}{divided} {value}{unit}"


def _bits(span: Span, texts: Texts) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column(span.table, justify="right", no_wrap=True)
    table.add_column(texts("probe.bits"), no_wrap=True)
    for first in range(span.first, span.first + span.count, BITS_PER_LINE):
        bits = [span.words.get(a) for a in range(first, min(first + BITS_PER_LINE, span.first + span.count))]
        if any(bit is not None for bit in bits):
            table.add_row(str(first), " ".join("-" if bit is None else str(bit) for bit in bits))
    return table


def _gaps(span: Span, texts: Texts) -> Iterator[str]:
    for first, last, why in span.gaps():
        yield texts("probe.gap", table=span.table, first=first, last=last, why=_why(why, texts))


def _why(fault: str, texts: Texts) -> str:
    if fault.startswith("exception_"):
        return texts("probe.exception", code=fault.removeprefix("exception_"))
    return texts(f"probe.{fault}") if fault in ("not_asked", "no_answer") else fault


def _matches(found: list[Match], texts: Texts) -> RenderableType:
    best, poor, refused, left = shown_matches(found)
    table = Table(
        title=texts("probe.profiles"), box=box.SIMPLE_HEAD, title_justify="left", title_style="", width=WIDTH
    )
    table.add_column(texts("probe.profile"), no_wrap=True)
    table.add_column(texts("probe.fit"), justify="right", no_wrap=True)
    table.add_column(texts("probe.reasons"), ratio=1)
    for match in best:
        if match.reading is not None:
            table.add_row(match.name, f"{100 * max(0.0, match.reading.score):.0f} %", _reasons(match, texts))
    lines: list[RenderableType] = [table] if best else [Text(texts("probe.no_profile"))]
    for key, group in (("others_poor", poor), ("others_refused", refused), ("others_left", left)):
        if group:
            lines.append(Text(texts(f"probe.{key}", names=", ".join(m.name for m in group)), style="dim"))
    return Group(*lines)


def _reasons(match: Match, texts: Texts) -> str:
    reading = match.reading
    assert reading is not None
    reasons = [texts("probe.named_on_plate")] if match.on_plate else []
    if match.swap:
        reasons.append(texts(f"probe.if_{match.swap}"))
    reasons.append(texts("probe.answered", answered=reading.answered, asked=reading.asked))
    reasons.append(texts("probe.speaking", speaking=reading.speaking, points=len(reading.profile.points)))
    if reading.doubts:
        reasons.append(texts("probe.doubtful", doubts=len(reading.doubts)))
    if reading.passed:
        reasons.append(texts("probe.passed", checks=", ".join(texts(f"check.{c}") for c in reading.passed)))
    failed = dict.fromkeys(f.check for f in reading.failed if f.check not in ("range", "word_order"))
    if failed:
        reasons.append(texts("probe.failed", checks=", ".join(texts(f"check.{c}") for c in failed)))
    return "; ".join(reasons)


def _reading(reading: Reading, texts: Texts) -> Table:
    """All points of a profile, and what is wrong with each."""
    table = Table(
        title=reading.profile.model, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", width=WIDTH,
        padding=0,
    )  # fmt: skip
    table.add_column(texts("watch.point"), overflow="fold", min_width=26)
    table.add_column(texts("probe.register"), justify="right", no_wrap=True)
    table.add_column(texts("watch.raw"), no_wrap=True)
    table.add_column(texts("watch.value"), justify="right", no_wrap=True)
    table.add_column("", no_wrap=True, min_width=4)
    table.add_column("", no_wrap=True, min_width=16)
    for i, point in enumerate(reading.profile.points):
        value, quality = float(reading.row.values[i]), Quality(int(reading.row.quality[i]))
        shown = reading.row.text.get(i) or ("-" if math.isnan(value) else number(value, texts))
        words = reading.words[i]
        doubt = reading.doubts.get(i)
        remark = Text("")
        if doubt is not None:
            known = "quality" if doubt in Quality.__members__.keys() | _small() else "check"
            remark = Text("✗ " + texts(f"{known}.{doubt}"), "bold red")
        elif quality == Quality.UNKNOWN:
            remark = Text(texts("quality.unknown"), "dim")
        kind = point.type + (f" {point.order}" if point.words > 1 and point.type != "string" else "")
        hexed = raw(words.hex()) if words is not None else ""
        table.add_row(point.name, f"{point.address} {kind}", hexed, shown, point.unit, remark)
    return table


def _small() -> set[str]:
    return {quality.name.lower() for quality in Quality}


def _findings(reading: Reading, texts: Texts) -> Iterator[str]:
    if reading.passed:
        yield texts("probe.passed", checks=", ".join(texts(f"check.{check}") for check in reading.passed)) + "."
    for finding in reading.failed:
        if finding.check not in ("range", "word_order"):
            yield _finding(finding, texts)


def _finding(finding: Finding, texts: Texts) -> str:
    return texts(
        "probe.finding", check=texts(f"check.{finding.check}"), point=finding.point,
        value=number(finding.value, texts), low=number(finding.low, texts), high=number(finding.high, texts),
    )  # fmt: skip
