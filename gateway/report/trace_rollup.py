"""The chain of a roll-up's figure, down to the monthly reports whose figures it adds up."""

from collections.abc import Iterator

from gateway.report.data import number
from gateway.report.figure import by_key
from gateway.report.rollup import Rollup
from gateway.report.trace import known_key, some
from gateway.report.words import PeriodWords


def trace_rollup(rollup: Rollup, key: str, w: PeriodWords, whole: bool = False) -> Iterator[str]:
    """Lines of the chain. `whole`: every month, not the first and last alone. Raises: WrongInput."""
    figures = by_key(rollup.figures())
    known_key(key, figures, f"{rollup.name} {rollup.period}")
    reports = {s.names(""): s for s in rollup.slices}

    def lines(name: str, depth: int) -> Iterator[str]:
        pad = "  " * depth
        month = reports.get(f"{name.partition(':')[0]}:")
        if month is not None:
            of_month = name.partition(":")[2]
            yield pad + w("trace.report", figure=of_month, site=month.site, month=month.month)
            return
        figure = figures[name]
        value = w("not_measured") if figure.value is None else f"{number(figure.value)} {figure.unit}"
        yield f"{pad}{name} = {value}"
        yield f"{pad}  {w('trace.formula')}: {w.t.template(f'report.formula.{figure.formula}') or figure.formula}"
        if figure.coverage is not None:
            yield f"{pad}  {w('trace.coverage')}: {w.t.percent(figure.coverage, 2)}"
        for factor in figure.factors:
            yield f"{pad}  {w('trace.factor')}: {factor}"
        shown, left = some(figure.inputs, whole)
        for i, below in enumerate(shown):
            if left and i == len(shown) - len(shown) // 2:
                yield f"{pad}  {w('trace.more', n=left)}"
            yield from lines(below, depth + 1)

    yield from lines(key, 0)
