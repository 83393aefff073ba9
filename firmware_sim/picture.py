"""Pictures of a run: a berth's day, and one lockage. PNG, by matplotlib (extra `sim`)."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from firmware_sim.bench import Bench
from firmware_sim.plant import lock_kernel as lk
from firmware_sim.plant import supply as sp
from firmware_sim.plant.charger import State
from firmware_sim.plant.lock import TRACE, UP, Lock
from firmware_sim.plant.pack import Floats
from firmware_sim.plant.port import Port
from firmware_sim.plant.quay import TimetableBerth

DAY_S = 86_400
NS = 1_000_000_000
_MARK = "SIMULATION"
_ORDER = (
    State.IDLE, State.APPROACH, State.DOCKED, State.CONNECTING, State.HANDSHAKE, State.PRECHARGE, State.RAMP_UP,
    State.CC, State.CV, State.RAMP_DOWN, State.DISCONNECTING, State.COMPLETED, State.PAUSED, State.ESTOP,
    State.FAULT,
)  # fmt: skip


class NoPictureError(RuntimeError):
    """There is nothing to draw, or nothing to draw with. Says what to do."""


def draw(bench: Bench, plant: str | None, out: Path, start: datetime, from_s: int, span_s: int) -> None:
    """Draw a berth's day or a lock's first whole lockage after `from_s`. Raises: NoPictureError."""
    berths = {name: berth for name, berth in bench.berths.items() if isinstance(berth, TimetableBerth)}
    known = [*berths, *bench.locks]
    plant = plant or next(iter(known), None)
    if plant in berths:
        ferry_day(berths[plant], plant, out, start, from_s, span_s)
    elif plant in bench.locks:
        lockage(bench.locks[plant], plant, out, start, from_s)
    else:
        raise NoPictureError(f"plant {plant!r} cannot be drawn; use {', '.join(known) or 'a scenario with one'}")


def ferry_day(berth: TimetableBerth, name: str, out: Path, start: datetime, from_s: int, span_s: int) -> None:
    """Power at the plug and the meter, SoC of the ship at the berth and what its BMS says, state."""
    port, n = berth.port, berth.port.names.index(name)
    port.advance(from_s * NS)
    rows, said = _seconds(port, n, span_s)
    hours = [start + timedelta(seconds=from_s + s + 1) for s in range(span_s)]
    column = sp.TR_FIRST + n * sp.TR_BERTH
    spec = port.berth_specs[n]
    figure, axes = _figure(3, (11.0, 7.2), [3, 2, 2])
    power, soc, state = axes
    power.plot(hours, rows[:, column + sp.TR_GRID_W] / 1e6, color="#9aa7b5", lw=0.9, label="at the meter")
    power.plot(hours, rows[:, column + sp.TR_PLUG_W] / 1e6, color="#1f5fa8", lw=1.1, label="at the plug")
    power.set_ylabel("power [MW]")
    power.set_ylim(0.0, 1.18 * spec.tower.rated_w / 1e6)
    power.legend(loc="upper right", ncols=2, frameon=False, fontsize=8)
    soc.plot(hours, 100.0 * rows[:, column + sp.TR_SOC], color="#1f7a4d", lw=1.3, label="true, ship at the berth")
    soc.plot(hours, 100.0 * said[:, 0], color="#d9822b", lw=0.9, ls="--", label="BMS, as the shore PLC shows it")
    soc.set_ylabel("SoC [%]")
    soc.set_ylim(0, 100)
    soc.legend(loc="lower right", ncols=2, frameon=False, fontsize=8)
    place = np.vectorize({int(code): k for k, code in enumerate(_ORDER)}.get)(rows[:, column].astype(int))
    state.step(hours, place, where="post", color="#5b3a8c", lw=1.0)
    state.set_yticks(range(len(_ORDER)), [code.name for code in _ORDER], fontsize=5.5)
    state.set_ylabel("state")
    state.grid(axis="y", lw=0.2)
    for call in port.calls[n]:
        if from_s <= call[1] < from_s + span_s:
            at = start + timedelta(seconds=float(call[1]))
            power.text(at, 0.99, port.ship_names[int(call[0])], fontsize=6.5, va="bottom", transform=_top(power))
    title = f"{name}: {spec.tower.rated_w / 1e6:g} MW, {start + timedelta(seconds=from_s):%Y-%m-%d}, UTC"
    _save(figure, axes, title, out, "%H:%M")


def lockage(lock: Lock, name: str, out: Path, start: datetime, from_s: int) -> None:
    """Levels, gates and sluices of the first lockage with a boat that begins after `from_s`."""
    tick_s = 1
    rows = np.zeros((DAY_S, TRACE))
    lock.advance(DAY_S * NS, rows, tick_s)
    whole = [one for one in lock.lockages if one.vessel and one.end_s and one.start_s >= from_s]
    if not whole:
        raise NoPictureError(f"{name}: no lockage with a boat ends within the day after {from_s} s")
    one = whole[0]
    assert one.end_s is not None
    first, last = max(0, int(one.start_s) - 60), int(one.end_s) + 60
    rows = rows[first:last]
    when = [start + timedelta(seconds=s + 1) for s in range(first, last)]
    figure, axes = _figure(3, (11.0, 6.6), [3, 2, 2])
    level, gates, sluices = axes
    level.axhline(lock.reach_m[UP], color="#9aa7b5", lw=0.9)
    level.axhline(lock.reach_m["down"], color="#9aa7b5", lw=0.9)
    level.text(when[0], lock.reach_m[UP], " upper reach", fontsize=7, va="bottom")
    level.text(when[0], lock.reach_m["down"], " lower reach", fontsize=7, va="bottom")
    level.plot(when, rows[:, 0], color="#1f5fa8", lw=1.4, label="chamber")
    level.set_ylabel("level [m]")
    area = lock.size.area_m2 if rows[0, lk.TRACE_SHORT] == 0.0 else lock.size.width_m * (lock.size.short_m or 0.0)
    flow = np.abs(np.gradient(rows[:, 0])) * area
    right = level.twinx()
    right.plot(when, flow, color="#b03a48", lw=0.8, alpha=0.8)
    right.set_ylabel("flow [m³/s]", color="#b03a48")
    right.set_ylim(0, max(5.0, 1.6 * float(flow.max())))
    for k, head in enumerate(lock.heads):
        style = ("-", "--", ":")[k]
        gates.plot(when, 100.0 * rows[:, 2 + 2 * k], style, lw=1.2, label=head)
        sluices.plot(when, 100.0 * rows[:, 3 + 2 * k], style, lw=1.2, label=head)
    for axis, what in ((gates, "gates"), (sluices, "sluices")):
        axis.set_ylabel(f"{what} [% open]")
        axis.set_ylim(-5, 105)
        axis.legend(loc="center right", frameon=False, fontsize=8)
    for k, (phase, second) in enumerate(one.phases.items()):
        at = start + timedelta(seconds=second)
        for axis in axes:
            axis.axvline(at, color="#cccccc", lw=0.6, zorder=0)
        level.text(at, 1.0 + 0.035 * (k % 2), f" {phase}", fontsize=6.5, va="bottom", transform=_top(level))
    size = lock.size
    title = (
        f"{name}: {size.length_m:g} x {size.width_m:g} m, fall {size.upstream_m - size.downstream_m:.2f} m, "
        f"a boat goes {one.direction}, {(one.end_s - one.start_s) / 60:.0f} min, {one.volume_m3:.0f} m³"
    )
    _save(figure, axes, title, out, "%H:%M")


def _seconds(port: Port, berth: int, span_s: int) -> tuple[Floats, Floats]:
    """The trace, and beside it the SoC that the shore PLC shows (NaN before the first ship), a row a second."""
    rows, said = np.zeros((span_s, port.columns)), np.full((span_s, 1), np.nan)
    for s in range(span_s):
        port.step(1, rows[s : s + 1])
        if port.copies[berth, sp.K_SHIP] >= 0.0:
            said[s, 0] = port.copies[berth, sp.K_SOC]
    return rows, said


def _figure(count: int, size: tuple[float, float], heights: list[int]) -> tuple[Any, Any]:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise NoPictureError(
            "matplotlib is not installed; from the clone: pip install -c constraints.txt '.[sim]'"
        ) from error
    figure = Figure(figsize=size, dpi=100, layout="constrained")
    return figure, figure.subplots(count, 1, sharex=True, height_ratios=heights)


def _top(axis: Any) -> Any:
    return axis.get_xaxis_transform()


def _save(figure: Any, axes: Any, title: str, out: Path, stamp: str) -> None:
    from matplotlib.dates import DateFormatter

    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.margins(x=0.005)
    axes[-1].xaxis.set_major_formatter(DateFormatter(stamp))
    figure.suptitle(title, fontsize=10, x=0.01, ha="left")
    figure.text(0.995, 0.995, _MARK, fontsize=8, ha="right", va="top", color="#b03a48")
    figure.savefig(out, format="png", metadata={"Software": None})
