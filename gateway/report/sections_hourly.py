"""The hourly indicator in words, with the regulatory figure beside it."""

from fractions import Fraction

from gateway.report.document import Block, Bullets, Facts, Heading, Paragraph
from gateway.report.month import NS
from gateway.report.words import Words

MOST_ROWS = 10  # of the bad ones; the rest is counted


def hourly_section(w: Words) -> list[Block]:
    """Nothing where no file of rates was given."""
    found = w.report.hourly
    if found is None:
        return []
    regulatory = next((line for line in w.report.carbon.lines if line.subject == "grid_site"), None)
    pairs, keys = [], []
    if regulatory is not None and w.report.counted:
        value = w.t.quantity(regulatory.co2_kg, f"kg {w.gas(regulatory.gas)}", 1)
        pairs.append((w("hourly.regulatory"), value))
        keys.append("co2.grid_site_kg")
    rate = w("not_measured") if found.g_per_kwh is None else w.t.quantity(found.g_per_kwh, "g/kWh", 1)
    mass = w("not_measured") if found.co2_kg is None else w.t.quantity(found.co2_kg, "kg CO₂", 1)
    pairs += [
        (w("hourly.co2"), mass),
        (w("hourly.mean"), rate),
        (w("hourly.coverage"), w("none") if found.coverage is None else w.t.percent(found.coverage, 2)),
        (w("hourly.missing"), w.t.quantity(Fraction(found.missing_ns, 3600 * NS), "h", 1)),
    ]
    keys += ["hourly.co2_kg", "hourly.mean_g_per_kwh", "", "hourly.missing_s"]
    blocks: list[Block] = [Heading(w("hourly.heading")), Facts(pairs, keys), Paragraph(w("hourly.note"))]
    if found.bad:
        told = [
            w(f"hourly.bad.{row.code}", file=row.file, line=row.line, seen=row.seen)
            for row in found.bad[:MOST_ROWS]
        ]
        more = len(found.bad) - len(told)
        blocks.append(Bullets([*told, *([w("hourly.bad.more", n=more)] if more else [])]))
    return blocks
