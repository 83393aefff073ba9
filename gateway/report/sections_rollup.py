"""A roll-up put into words: several months, several sites, and what of them is missing."""

from collections.abc import Mapping

from gateway.report.document import (
    PROVISIONAL,
    Align,
    Block,
    Bullets,
    Document,
    Edition,
    Facts,
    Heading,
    Paragraph,
    Table,
)
from gateway.report.figure import Figure, by_key
from gateway.report.model import WHOLE_ENOUGH
from gateway.report.rollup import YEAR_BEFORE, Rollup, Scope
from gateway.report.sections_locks import lock_reserves, lock_sections
from gateway.report.sections_targets import target_section
from gateway.report.words import PeriodWords
from gateway.texts import Texts

ENERGY = ("energy.import_wh", YEAR_BEFORE, "energy.export_wh", "calls.count", "calls.energy_wh")
METHOD = ("sum", "missing", "rights", "trace")
SCOPES: tuple[Scope, ...] = ("site", "month", "port", "operator")


def compose_rollup(rollup: Rollup, texts: Texts, edition: Edition = PROVISIONAL) -> Document:
    """The whole document."""
    w = PeriodWords(rollup, texts, edition)
    figures = by_key(rollup.figures())
    blocks = [
        *_header(w, rollup), *_reserves(w, rollup), *_energy(w, rollup, figures), *_companies(w, rollup, figures),
        *_balance(w, figures), *_carbon(w, figures), *lock_sections(w, rollup.locks),
        *_progress(w, rollup, figures), *target_section(w, rollup.deviations),
        Heading(w("method.heading")), Bullets([w(f"rollup.method.{m}") for m in METHOD]),
    ]  # fmt: skip
    return Document(
        lang=texts.lang,
        title=w("rollup.title", name=rollup.name, period=w.month),
        site=rollup.name,
        month=w.month,
        status=w.status,
        coverage=w.t.percent(rollup.coverage, 2) if rollup.metered else w("not_measured"),
        mark=w("mark") if rollup.simulated else None,
        warning=w("simulated", origins=", ".join(rollup.origins)) if rollup.simulated else None,
        blocks=blocks,
        foot=w("foot"),
    )


def _header(w: PeriodWords, rollup: Rollup) -> list[Block]:
    pairs = [
        (w("rollup.sites"), ", ".join(rollup.sites)),
        (
            w("rollup.period"),
            w("rollup.bounds", start=w.at(rollup.period.start_ns), stop=w.at(rollup.period.stop_ns)),
        ),
        (w("header.status"), w.status),
        (w("rollup.locks"), str(len(rollup.locks))),
    ]
    return [Facts(pairs)]


def _reserves(w: PeriodWords, rollup: Rollup) -> list[Block]:
    found = [
        w("rollup.reserve.missing", site=s.site, month=w.t.month(s.month.year, s.month.month))
        for s in rollup.missing
    ]
    found += [
        w("rollup.reserve.thin", site=s.site, month=w.t.month(s.month.year, s.month.month),
          seen=w.t.percent(s.coverage, 2))
        for s in rollup.slices
        if s.has_meter and s.coverage < WHOLE_ENOUGH
    ]  # fmt: skip
    for scope in ("port", "operator"):
        if "unknown" in rollup.names(scope):
            sites = ", ".join(dict.fromkeys(s.site for s in rollup.chosen(scope, "unknown")))
            found.append(w(f"rollup.reserve.no_{scope}", sites=sites))
    found += lock_reserves(w, rollup.locks)
    return [Heading(w("reserve.heading")), Bullets(found) if found else Paragraph(w("reserve.none"))]


def _energy(w: PeriodWords, rollup: Rollup, figures: Mapping[str, Figure]) -> list[Block]:
    if not rollup.metered and not any(s.vessels for s in rollup.slices):
        return [Heading(w("rollup.energy")), Paragraph(w("rollup.no_energy"))]
    blocks: list[Block] = [Heading(w("rollup.energy"))]
    for scope in SCOPES:
        names = rollup.names(scope)
        if not names or (scope == "month" and len(names) == 1):
            continue
        rows = [[_label(w, rollup, scope, name), *_cells(w, figures, f"{scope}={name}")] for name in names]
        where = [f"{scope}={name}" for name in names]
        if scope in ("site", "month"):
            rows.append([w("rollup.total"), *_cells(w, figures, "")])
            where.append("")
        header: list[tuple[str, Align]] = [(w(f"rollup.scope.{scope}"), "left")]
        header += [(w(f"column.rollup.{name.replace('.', '_')}"), "right") for name in (*ENERGY, "coverage")]
        caption = w(f"rollup.caption.{scope}")
        blocks.append(Table(caption, header, rows, scope in ("site", "month"), ("", *ENERGY), where))
    return blocks


def _label(w: PeriodWords, rollup: Rollup, scope: Scope, name: str) -> str:
    if scope == "month":
        year, month = map(int, name.split("-"))
        return w.t.month(year, month)
    if name == "unknown":
        return w("rollup.unknown")
    if scope == "operator":
        return w(f"rollup.kind.{rollup.perimeter.kind_of(name)}", name=name)
    return name


def _cells(w: PeriodWords, figures: Mapping[str, Figure], where: str) -> list[str]:
    """Energies and calls of one line, and how much of its time was covered."""
    found = [figures.get(f"{name}/{where}" if where else name) for name in ENERGY]
    seen = next((f.coverage for f in found if f is not None and f.value is not None), None)
    return [*(w.value(f) for f in found), w("none") if seen is None else w.t.percent(seen, 2)]


def _companies(w: PeriodWords, rollup: Rollup, figures: Mapping[str, Figure]) -> list[Block]:
    names = list(rollup.companies())
    if not names:
        return []
    keys = ("company.calls", "company.energy_wh")
    rows = [
        [
            w("rollup.unknown") if name == "unknown" else name,
            *(w.value(figures[f"{k}/company={name}"]) for k in keys),
        ]
        for name in names
    ]
    header: list[tuple[str, Align]] = [(w("rollup.scope.company"), "left")]
    header += [
        (w(f"column.rollup.{key.replace('.', '_')}"), "right") for key in ("calls.count", "calls.energy_wh")
    ]
    where = [f"company={name}" for name in names]
    table = Table(w("rollup.caption.company"), header, rows, names=("", *keys), where=where)
    return [Heading(w("rollup.companies")), table, Paragraph(w("rollup.closed"))]


def _whole(figures: Mapping[str, Figure], subject: str) -> list[Figure]:
    """Figures of a subject over the whole period and all sites."""
    return [f for key, f in figures.items() if key.startswith(subject) and not _parts(key) & {*SCOPES}]


def _balance(w: PeriodWords, figures: Mapping[str, Figure]) -> list[Block]:
    """What the ports did with their energy, delivery points together."""
    lines = [f for f in _whole(figures, "port.") if f.value is not None]
    if not lines:
        return []
    names = [f.key.removeprefix("port.").removesuffix("_wh") for f in lines]
    pairs = [(w(f"rollup.line.{n}"), f"{w.value(f)}\u00a0kWh") for n, f in zip(names, lines, strict=True)]
    return [Heading(w("rollup.balance")), Facts(pairs, [f.key for f in lines])]


def _carbon(w: PeriodWords, figures: Mapping[str, Figure]) -> list[Block]:
    """Each line of the months by itself; lines of several perimeters are never added."""
    lines = _whole(figures, "co2.")
    if not any(f.value is not None for f in lines):
        return []
    rows = []
    for figure in lines:
        name, _, where = figure.key.partition("/")
        label = w(f"rollup.line.{name.removeprefix('co2.').removesuffix('_kg')}")
        baseline = where.replace(",", ", ") or w("none")
        rows.append(
            [label, baseline, w.value(figure), w.gas(figure.unit.removeprefix("kg")), ", ".join(figure.factors)]
        )
    header: list[tuple[str, Align]] = [
        (w(f"column.rollup_co2.{name}"), "right" if name == "kg" else "left")
        for name in ("line", "baseline", "kg", "gas", "factors")
    ]
    return [Heading(w("co2.heading")), Table(w("rollup.caption.co2"), header, rows)]


def _parts(key: str) -> set[str]:
    return {part.partition("=")[0] for part in key.partition("/")[2].split(",") if part}


def _progress(w: PeriodWords, rollup: Rollup, figures: Mapping[str, Figure]) -> list[Block]:
    months = rollup.names("month")
    if not rollup.locks or len(months) < 2:
        return []
    rows = []
    for month in months:
        share = figures[f"locks.remote_share/month={month}"]
        seen = w("none") if share.coverage is None else w.t.percent(share.coverage, 1)
        rows.append([_label(w, rollup, "month", month), w.value(share), seen])
    header: list[tuple[str, Align]] = [
        (w("rollup.scope.month"), "left"), (w("column.rollup.remote_share"), "right"),
        (w("column.rollup.coverage"), "right"),
    ]  # fmt: skip
    where = [f"month={month}" for month in months]
    return [Table(w("rollup.caption.progress"), header, rows, names=("", "locks.remote_share"), where=where)]
