"""The truth of a run as a table, for truth.csv: a row per instant, a column per quantity. No I/O but the file."""

import asyncio
import csv
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from firmware_sim.bench import Bench

NS = 1_000_000_000
_LOCK = ("phase", "level_chamber_m", "drawn_m3", "released_m3")


def truth_row(bench: Bench, t_ns: int, epoch_ns: int) -> dict[str, Any]:
    """What is true `t_ns` after the start.

    Columns: `time_s` since the start, `utc`; per berth `state`, `mated`, `power_w` (at its meter), `soc`; per
    meter `import_wh` as it shows it without faults; per delivery point `power_w`, `limit_w`; per lock `phase`,
    `level_chamber_m` and the volumes `drawn_m3`, `released_m3`. Unknown is empty.
    """
    truth = bench.truth(t_ns, epoch_ns)
    utc = datetime.fromtimestamp((epoch_ns + t_ns) // NS, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    row: dict[str, Any] = {"time_s": t_ns / NS, "utc": utc}
    for name, berth in truth["berths"].items():
        row |= {f"{name}.{key}": berth[key] for key in ("state", "mated", "power_w", "soc")}
    for name, point in truth.get("points", {}).items():
        row |= {f"{name}.{key}": point[key] for key in ("power_w", "limit_w")}
    row |= {f"{name}.import_wh": register for name, register in truth["registers"].items()}
    for name, lock in truth["locks"].items():
        row |= {f"{name}.{key}": lock[key] for key in _LOCK}
    return row


class TruthFile:
    """Writes truth.csv, line by line, so that what is there is whole."""

    def __init__(self, path: Path, bench: Bench, epoch_ns: int) -> None:
        self._bench, self._epoch_ns = bench, epoch_ns
        self._file = path.open("w", newline="", encoding="utf-8", buffering=1)
        self._csv: csv.DictWriter[str] | None = None

    def write(self, t_ns: int) -> None:
        row = truth_row(self._bench, t_ns, self._epoch_ns)
        if self._csv is None:
            self._csv = csv.DictWriter(self._file, list(row), lineterminator="\n")
            self._csv.writeheader()
        self._csv.writerow({key: _plain(value) for key, value in row.items()})

    def close(self) -> None:
        self._file.close()


async def follow(
    file: TruthFile, elapsed_ns: Callable[[], int], every_s: int, real_s: Callable[[float], float]
) -> None:
    """Write a row every `every_s` simulated seconds while devices are served, until cancelled.

    A row holds its own time: at a high speed it may be a little later than the multiple that it is due at.
    """
    due_ns = 0
    try:
        while True:
            now_ns = elapsed_ns()
            if now_ns >= due_ns:
                file.write(now_ns // NS * NS)
                due_ns = (now_ns // (every_s * NS) + 1) * every_s * NS
            await asyncio.sleep(min(0.2, max(0.002, real_s((due_ns - now_ns) / NS))))
    finally:
        file.close()


def _plain(value: Any) -> Any:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return int(value)
    return f"{value:.6g}" if isinstance(value, float) and abs(value) < 1.0 else value
