"""One table at the end of a run: what we take, what another takes for the same, how many times ours, the aim."""

import importlib.util
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

OURS = "bollard"
PEERS = ("numpy", "scipy", "pandas", "polars", "filterpy")
KEY = pytest.StashKey[list[tuple[str, str, str, str, str, str]]]()
HEAD = ("file", "what", "ours", "beside", "ratio", "aim")


class Ratios:
    """Takes the figures of one test."""

    def __init__(self, file: str, rows: list[tuple[str, str, str, str, str, str]]) -> None:
        self._file, self._rows = file, rows

    def add(
        self, what: str, unit: str, ours: float, others: Mapping[str, float] | None = None, aim: str = ""
    ) -> None:
        """Figures of one run. `others`: name -> figure in the same unit; `aim` as a person reads it."""
        self._rows.append((self._file, what, _amount(ours, unit), "", "", aim))
        for name, figure in (others or {}).items():
            times = figure / ours if ours > 0 else math.nan
            self._rows.append(
                (self._file, what, _amount(ours, unit), f"{name} {_amount(figure, unit)}", f"{times:.2f}", "")
            )


@pytest.fixture
def ratios(request: pytest.FixtureRequest) -> Ratios:
    return Ratios(request.path.name, request.config.stash.setdefault(KEY, []))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = [HEAD, *config.stash.get(KEY, []), *_of_groups(config)]
    if len(rows) == 1:
        return
    terminalreporter.section("ratios: another's figure over ours, above 1 is in our favour")
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    for row in rows:
        terminalreporter.write_line("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())

    missing = [name for name in PEERS if importlib.util.find_spec(name) is None]
    if missing:
        terminalreporter.write_line(f"not installed here, so not beside us: {', '.join(missing)}")


def _of_groups(config: pytest.Config) -> Iterator[tuple[str, str, str, str, str, str]]:
    """pytest-benchmark's groups in which one of the parameters is ours: best times of a round."""
    session = getattr(config, "_benchmarksession", None)
    groups: dict[str, list[Any]] = {}
    for bench in getattr(session, "benchmarks", ()):
        if bench.group and not bench.has_error:
            groups.setdefault(bench.group, []).append(bench)
    for group, benches in groups.items():
        named = {str(bench.param): bench for bench in benches if bench.param is not None}
        ours = named.pop(OURS, None)
        if ours is None:
            continue
        file = str(ours.fullname).partition("::")[0].rpartition("/")[2]
        unit_s = 1.0 / ours.extra_info.get("steps", 1)
        for name, bench in named.items():
            theirs_s = bench.stats.min / bench.extra_info.get("steps", 1)
            mine_s = ours.stats.min * unit_s
            yield (
                file, group, _amount(mine_s, "s"), f"{name} {_amount(theirs_s, 's')}", f"{theirs_s / mine_s:.2f}",
                str(ours.extra_info.get("aim", "")),
            )  # fmt: skip


def _amount(value: float, unit: str) -> str:
    """With a prefix that a person reads; seconds only."""
    if unit != "s":
        return f"{value:.3g} {unit}"
    for scale, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {name}"
    return f"{value * 1e9:.3g} ns"
