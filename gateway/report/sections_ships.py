"""The ship view in words: stays at berths, and each ship's energy beside what it replaced."""

from fractions import Fraction

from gateway.report.blocks import columns
from gateway.report.calls import Call
from gateway.report.document import Block, Heading, Paragraph, Table
from gateway.report.figures_ships import ship_key
from gateway.report.ships import MJ_PER_KWH, ShipMonth
from gateway.report.stays import Stay
from gateway.report.words import Words

MOST_STAYS = 100  # named one by one; the CSV has them all


def ship_sections(w: Words) -> list[Block]:
    view = w.report.ships
    if not view.ships and not view.stays:
        return []
    blocks: list[Block] = [Heading(w("ships.heading"))]
    if view.ships:
        blocks += [_ships(w), Paragraph(w("ships.note", grid=view.method.grid.id))]
    if view.method.price is not None:
        blocks.append(_allowances(w))
    if view.method.pollutants:
        blocks += _pollutants(w)
    return [*blocks, *_stays(w)]


def _kg(w: Words, value: Fraction | None) -> str:
    return w("none") if value is None else w.t.number(value, 1)


def _engine(w: Words, ship: ShipMonth) -> str:
    if ship.replaced is None:
        return w("ships.no_engine")
    text = ship.replaced.baseline + w.unverified(ship.factors[1])
    return text if ship.replaced.efficiency == 1 else f"{text} × {w.t.factor(ship.replaced.efficiency)}"


def _ships(w: Words) -> Table:
    rows, keys = [], []
    for ship in w.report.ships.ships:
        effect = ship.effect
        amounts = (
            [None] * 4 if effect is None else [effect.grid_kg, effect.fuel_kg, effect.avoided_kg, effect.net_kg]
        )
        mj = None if ship.energy_wh is None else Fraction(ship.energy_wh, 1000) * MJ_PER_KWH
        rows.append([
            w("calls.unknown_vessel") if ship.vessel == "unknown" else ship.vessel, ship.imo or w("none"),
            w(f"use.{ship.use}"), str(len(ship.calls)), w.kwh_or_none(ship.energy_wh), _kg(w, mj),
            _engine(w, ship), *(_kg(w, kg) for kg in amounts),
        ])  # fmt: skip
        keys.append(ship_key("", ship).partition("/")[2])
    header = columns(w, "ships", "vessel imo use calls> energy> mj> engine grid> fuel> avoided> net>")
    names = ("", "", "", "ship.calls", "ship.energy_wh", "ship.energy_mj", "", "ship.grid_kg",
             "ship.fuel_avoided_kg", "ship.avoided_kg", "ship.net_kg")  # fmt: skip
    return Table(w("ships.caption"), header, rows, names=names, where=keys)


def _allowances(w: Words) -> Block:
    method = w.report.ships.method
    if method.phase_in is None or method.price is None:
        return Paragraph(w("ships.no_phase_in"))
    worth = [
        s.effect.ets_eur for s in w.report.ships.ships if s.effect is not None and s.effect.ets_eur is not None
    ]
    total = sum(worth, Fraction(0))
    price, share = w.t.number(method.price, 2), w.t.factor(method.phase_in.value)
    return Paragraph(
        w("ships.allowances", eur=w.t.number(total, 2), price=price, share=share, id=method.phase_in.id)
    )


def _pollutants(w: Words) -> list[Block]:
    rows, keys = [], []
    for ship in w.report.ships.ships:
        found = dict(ship.effect.pollutants) if ship.effect is not None else {}
        if found:
            rows.append([ship.vessel, *(_kg(w, found.get(name)) for name in ("nox", "so2", "pm10", "pm25"))])
            keys.append(ship_key("", ship).partition("/")[2])
    if not rows:
        return [Paragraph(w("ships.no_pollutants"))]
    names = ("", "ship.nox_kg", "ship.so2_kg", "ship.pm10_kg", "ship.pm25_kg")
    header = columns(w, "pollutants", "vessel nox> so2> pm10> pm25>")
    table = Table(w("ships.pollutants_caption"), header, rows, names=names, where=keys)
    return [table, Paragraph(w("ships.pollutants_note"))]


def _stays(w: Words) -> list[Block]:
    view = w.report.ships
    if not view.stays:
        return [Paragraph(w("stays.none"))]
    calls: dict[int, list[Call]] = {}
    for call in w.report.calls:
        if call.stay is not None:
            calls.setdefault(call.stay.number, []).append(call)
    told = [s for s in view.stays if not s.under_two_hours or s.number not in calls]
    under = sum(s.under_two_hours for s in view.stays)
    bare = sum(c.stay is None for c in w.report.calls)
    blocks: list[Block] = [Paragraph(w("stays.count", n=len(view.stays), under=under))]
    if told:
        rows = [_stay(w, stay, calls.get(stay.number, [])) for stay in told[:MOST_STAYS]]
        header = columns(w, "stays", "vessel imo berth arrival departure lasted> two_hours connected> energy>")
        blocks.append(Table(w("stays.caption"), header, rows))
    if len(told) > MOST_STAYS:
        blocks.append(Paragraph(w("stays.more", n=len(told) - MOST_STAYS)))
    blocks.append(Paragraph(w("stays.note")))
    return [*blocks, Paragraph(w("stays.without", n=bare))] if bare else blocks


def _stay(w: Words, stay: Stay, calls: list[Call]) -> list[str]:
    connected = [c.connected_s for c in calls if c.connected_s is not None]
    energy = [c.energy_wh for c in calls if c.energy_wh is not None]
    return [
        stay.name, stay.imo, stay.berth, w.at(stay.arrival_ns), w.at(stay.departure_ns),
        w.t.duration(int(stay.lasted_s)), w("stays.under" if stay.under_two_hours else "stays.over"),
        w.t.duration(round(sum(connected))) if connected
        else w("stays.unconnected" if not calls else "not_measured"),
        w.kwh(sum(energy)) if energy else w("none" if not calls else "not_measured"),
    ]  # fmt: skip
