"""The chain of a figure, from its value down to the readings: what `bollard report trace KEY` prints."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

import numpy as np

from edge.wire import COMPUTED, Catalogue
from gateway.report.data import number
from gateway.report.errors import WrongInput
from gateway.report.factors import Factor
from gateway.report.figure import Figure, RowRange, by_key
from gateway.report.lock_signals import LockPoints
from gateway.report.lock_time import raw_rows
from gateway.report.model import Report
from gateway.report.month import utc
from gateway.report.words import Words
from gateway.store.base import UNKNOWN, Array, Columns, Store

MOST = 5  # inputs and rows shown of each list, half from its begin and half from its end
READINGS = ("register_import_wh", "register_export_wh")


def trace(
    report: Report, store: Store, catalogues: list[Catalogue], key: str, w: Words, whole: bool = False
) -> Iterator[str]:
    """Lines of the chain. `whole`: every input and row. Raises: WrongInput if there is no such key."""
    figures = by_key(report.figures())
    known_key(key, figures, f"{report.site} {report.month}")
    yield from _Tracer(report, store, catalogues, figures, w, whole).lines(key, 0)


def known_key(key: str, figures: Mapping[str, Figure], report: str) -> None:
    """Raises: WrongInput, with the keys that are near it."""
    if key not in figures:
        near = get_close_matches(key, figures, 3, 0.5) or list(figures)[:3]
        raise WrongInput(f"no figure {key!r} in {report}; near it: {'; '.join(near)}")


def some(found: tuple[str, ...], whole: bool) -> tuple[tuple[str, ...], int]:
    """The first and the last of many, and how many are left out."""
    if whole or len(found) <= MOST:
        return found, 0
    return found[: MOST - MOST // 2] + found[-(MOST // 2) :], len(found) - MOST


class _Tracer:
    def __init__(
        self, report: Report, store: Store, catalogues: list[Catalogue],
        figures: Mapping[str, Figure], w: Words, whole: bool,
    ) -> None:  # fmt: skip
        self._report, self._store, self._figures, self._w, self._whole = report, store, figures, w, whole
        self._catalogues = catalogues
        self._devices = {d["name"]: d for c in catalogues for d in c.devices}
        self._factors: Mapping[str, Factor] = {f.cited: f for f in report.factors}

    def lines(self, key: str, depth: int) -> Iterator[str]:
        figure, pad, w = self._figures[key], "  " * depth, self._w
        value = w("not_measured") if figure.value is None else f"{number(figure.value)} {figure.unit}"
        yield f"{pad}{key} = {value}"
        formula = w.t.template(f"report.formula.{figure.formula}") or figure.formula
        yield f"{pad}  {w('trace.formula')}: {formula}"
        if figure.coverage is not None:
            yield f"{pad}  {w('trace.coverage')}: {w.t.percent(figure.coverage, 2)}"
        if figure.shares is not None:
            parts = {n: w.t.percent(getattr(figure.shares, n), 2) for n in ("measured", "integrated", "estimated")}
            yield f"{pad}  {w('trace.shares', **parts)}"
        for name in figure.factors:
            yield f"{pad}  {w('trace.factor')}: {self._factor(name)}"
        for rows in figure.rows:
            yield from self._rows(rows, figure, f"{pad}  ")
        beside = self._registers(key)
        if beside:
            yield f"{pad}  {w('trace.registers')}"
        for name in beside:
            yield from self.lines(name, depth + 2)
        shown, left = some(figure.inputs, self._whole)
        for i, name in enumerate(shown):
            if left and i == len(shown) - len(shown) // 2:
                yield f"{pad}  {w('trace.more', n=left)}"
            yield from self.lines(name, depth + 1)

    def _registers(self, key: str) -> list[str]:
        """Register differences that stand beside a meter's energy: what its display showed."""
        name, _, meter = key.partition("/")
        direction = name.removeprefix("energy.").removesuffix("_wh")
        found = f"register.difference_wh/{meter},direction={direction},"
        return [
            other for other in self._figures if name.startswith("energy.") and meter and other.startswith(found)
        ]

    def _factor(self, name: str) -> str:
        f = self._factors.get(name)
        return name if f is None else f"{name} = {self._w.t.factor(f.value)} {f.unit}; {f.source} [{f.certainty}]"

    def _rows(self, asked: RowRange, figure: Figure, pad: str) -> Iterator[str]:
        """The rows of a range: how many, what they sum up to, and the first and last of them."""
        w = self._w
        if asked.kind == "lock":
            yield from self._raw_rows(asked, pad)
            return
        rows = self._store.columns(
            asked.kind, asked.device, tuple(COMPUTED.get(asked.kind, {})), asked.start_ns, asked.stop_ns,
            site=self._report.site,
        )  # fmt: skip
        yield self._counted(asked, len(rows), pad)
        name = figure.key.partition("/")[0].partition(".")[2]
        if len(rows) > 1 and name in COMPUTED.get(asked.kind, {}):
            known = rows.whole(name)[rows.whole(name) != UNKNOWN]
            yield f"{pad}  {w('trace.sum', name=name, sum=int(known.sum()), n=len(known))}"
        numbers = list(range(len(rows)))
        if not self._whole and len(rows) > MOST:
            numbers = numbers[: MOST - MOST // 2] + numbers[-(MOST // 2) :]
        for place, i in enumerate(numbers):
            if place and i != numbers[place - 1] + 1:
                yield f"{pad}  {w('trace.more', n=i - numbers[place - 1] - 1)}"
            yield f"{pad}  {utc(int(rows.t_ns[i]))} rev {rows.rev[i]}: {_cells(asked.kind, rows, i)}"

    def _counted(self, asked: RowRange, n: int, pad: str) -> str:
        w, device = self._w, self._devices.get(asked.device, {})
        profile = w(
            "trace.profile", name=device.get("profile", "—"), hash=str(device.get("profile_hash", "—"))[:12]
        )
        rows = w("trace.rows", n=n, kind=asked.kind, device=asked.device)
        return f"{pad}{rows} {utc(asked.start_ns)} … {utc(asked.stop_ns)}; {profile}"

    def _raw_rows(self, asked: RowRange, pad: str) -> Iterator[str]:
        """A lock's own rows, millions in a month: how many, the first and the last."""
        points = LockPoints.of(self._catalogues, asked.device)
        n, ends = 0, list[str]()
        for t_ns, column, _ in raw_rows(self._store, self._report.site, points, asked.start_ns, asked.stop_ns):
            n += len(t_ns)
            told = [f"{pad}  {utc(int(t_ns[i]))}: {_numbers(column, i)}" for i in (0, -1)]
            ends = [ends[0] if ends else told[0], told[1]]
        yield self._counted(asked, n, pad)
        yield from dict.fromkeys(ends)


def _numbers(column: Mapping[str, Array], i: int) -> str:
    return " ".join(f"{name}={float(values[i]):g}" for name, values in column.items() if not np.isnan(values[i]))


def _cells(kind: str, rows: Columns, i: int) -> str:
    """Every known field of a row, as it stands in the store; times are written out."""
    found = []
    for name, type_ in COMPUTED.get(kind, {}).items():
        if type_ == "str":
            if rows.text[name][i]:
                found.append(f"{name}={rows.text[name][i]}")
        elif type_ == "int":
            value = int(rows.whole(name)[i])
            if value != UNKNOWN and not (name in READINGS and value < 0):
                found.append(f"{name}={utc(value) if name.endswith('_ns') else value}")
        elif not np.isnan(rows[name][i]):
            found.append(f"{name}={rows[name][i]:g}")
    return " ".join(found)
