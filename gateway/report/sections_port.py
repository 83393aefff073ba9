"""The port view in words: balance of each delivery point, scope 2, peaks against subscribed power, invoice."""

from fractions import Fraction

from gateway.report.blocks import columns
from gateway.report.co2 import gas_of
from gateway.report.document import Block, Bullets, Heading, Paragraph, Table
from gateway.report.factors import Factor
from gateway.report.figures_port import mass_kg_of
from gateway.report.tariff import ClassMonth, TariffMonth
from gateway.report.words import Words


def port_sections(w: Words) -> list[Block]:
    points = w.report.port.points
    if not points:
        return []
    blocks: list[Block] = [Heading(w("port.heading")), _balance(w), Paragraph(w("port.balance_note"))]
    lines = _scope2(w)
    if lines is not None:
        blocks.append(lines)
    conventions = [w(f"port.convention_{name}") for name in ("supply", "pcaet", "sgpe", "market")]
    blocks += [Bullets(conventions), *_plan(w)]
    for tariff in w.report.tariffs:
        blocks += _tariff(w, tariff)
    if not w.report.tariffs:
        blocks.append(Paragraph(w("tariff.none")))
    return blocks


def _balance(w: Words) -> Table:
    points = w.report.port.points
    rows = [
        [p.meter, w(f"supply.{p.supply or 'undeclared'}"), w.kwh_or_none(p.import_wh),
         w.kwh_or_none(p.production_wh), w.kwh(p.export_wh), w.kwh_or_none(p.ships_wh),
         w.kwh_or_none(p.auxiliary_wh), w.kwh_or_none(p.losses_wh), w.kwh_or_none(p.own_wh),
         w.t.percent(p.coverage, 2)]
        for p in points
    ]  # fmt: skip
    header = columns(
        w, "port", "point supply import> production> export> ships> auxiliary> losses> own> coverage>"
    )
    names = (
        "",
        "",
        "",
        "port.production_wh",
        "",
        "port.ships_wh",
        "port.auxiliary_wh",
        "port.losses_wh",
        "port.own_wh",
    )
    return Table(w("port.caption"), header, rows, names=names, where=[f"point={p.meter}" for p in points])


def _scope2(w: Words) -> Table | None:
    rows, keys = [], []
    for point in w.report.port.points:
        lines: list[tuple[str, Fraction | None, Factor | None]] = [
            ("scope2_location", point.scope2_wh, w.report.carbon.grid),
            ("scope2_market", point.scope2_wh, w.report.market.get(point.meter)),
            ("resold_location", point.resold_wh, w.report.carbon.grid),
        ]
        for name, energy_wh, factor in lines:
            if factor is None or (name == "resold_location" and point.supply != "reseller"):
                continue
            unknown = w("not_measured" if point.supply else "port.undeclared")
            rows.append([
                point.meter, w(f"co2.{name}"), unknown if energy_wh is None else w.kwh_exact(energy_wh),
                f"{w.t.factor(factor.value)} ({factor.id}{w.unverified(factor)})",
                unknown if energy_wh is None else w.t.number(mass_kg_of(energy_wh, factor), 1),
                w.gas(gas_of(factor)),
            ])  # fmt: skip
            keys.append(f"co2.{name}_kg/point={point.meter}")
    if rows:  # named, and nothing more: no rule of it was found at its source
        rows.append([w("none"), w("port.sgpe"), w("port.not_given"), w("none"), w("port.not_given"), w("none")])
        keys.append("")
    if not rows:
        return None
    return Table(
        w("port.scope2_caption"), columns(w, "scope2", "point line energy> factor> kg> gas"), rows, where=keys
    )


def _plan(w: Words) -> list[Block]:
    """Lines of the voluntary energy master plan."""
    rows = []
    hours = {t.meter: t.constrained_h for t in w.report.tariffs}
    for p in w.report.port.points:
        constrained = hours.get(p.meter)
        rows.append([
            p.meter, w.kwh_or_none(p.own_wh), w.kwh_or_none(p.production_wh), w.kwh_or_none(p.ships_wh),
            w("not_measured") if constrained is None else w.t.number(constrained, 1),
        ])  # fmt: skip
    header = columns(w, "plan", "point consumption> production> distribution> constrained>")
    return [Table(w("plan.caption"), header, rows), Paragraph(w("plan.note"))]


def _tariff(w: Words, tariff: TariffMonth) -> list[Block]:
    rows = [_class(w, one) for one in tariff.classes]
    header = columns(
        w,
        "tariff",
        "class subscribed> energy> peak> peak_at windows> incomplete> beyond> most> exceedance> hours>",
    )
    source = w("tariff.by_meter") if tariff.source == "meter" else w("tariff.by_curve", file=tariff.source)
    blocks: list[Block] = [
        Table(
            w("tariff.caption", point=tariff.meter, source=source), header, rows,
            names=("", "", "tariff.energy_wh", "tariff.peak_w", "", "", "", "tariff.beyond",
                   "tariff.most_beyond_w", "tariff.exceedance_w", "tariff.constrained_h"),
            where=[f"point={tariff.meter},class={one.tariff}" for one in tariff.classes],
        ),
        Paragraph(w("tariff.note")),
    ]  # fmt: skip
    if tariff.curve_wh is not None:
        blocks.append(Paragraph(w("tariff.curve", file=tariff.source, energy=w.kwh_exact(tariff.curve_wh))))
    if tariff.invoice:
        lines = [
            [c.tariff or w("invoice.whole"), w(f"invoice.{c.quantity}"),
             w("not_measured") if c.ours is None else w.t.number(c.ours, 3), w.t.number(c.invoice, 3),
             "" if c.ours is None else w.t.number(c.ours - c.invoice, 3), w(f"invoice.{_agrees(c.agrees)}")]
            for c in tariff.invoice
        ]  # fmt: skip
        header = columns(w, "invoice", "class quantity ours> invoice> difference> agrees")
        blocks += [Table(w("invoice.caption", point=tariff.meter), header, lines), Paragraph(w("invoice.note"))]
    return blocks


def _agrees(value: bool | None) -> str:
    return "unknown" if value is None else "agrees" if value else "differs"


def _class(w: Words, one: ClassMonth) -> list[str]:
    def kw(value_w: Fraction | int) -> str:
        return w.t.number(Fraction(value_w) / 1000, 1)

    subscribed = "; ".join(
        kw(limit_w) if len(one.subscribed_w) == 1 else f"{kw(limit_w)} ({w.t.date(start_ns, w.report.month.zone)})"
        for start_ns, limit_w in one.subscribed_w
    )
    return [
        one.tariff, subscribed or w("tariff.no_limit"), w.kwh_or_none(one.energy_wh),
        w("none") if one.peak is None else w.kw(one.peak), "" if one.peak is None else w.at(one.peak.start_ns),
        str(one.windows), str(one.incomplete), str(one.beyond), kw(one.most_beyond_w), kw(one.exceedance_w),
        w.t.number(one.constrained_h, 1),
    ]  # fmt: skip
