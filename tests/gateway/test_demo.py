"""The whole way, as a person runs it: processes, sockets, a broker, a store, and someone who kills them."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from line_protocol_parser import parse_line
from processes import Process
from servers.influx import InfluxServer
from servers.mosquitto import Mosquitto

from edge import wire
from gateway.book import Book
from gateway.config import load_shore
from gateway.report.html import render_html
from gateway.report.markdown import render_markdown
from gateway.report.model import build
from gateway.store import UNKNOWN, Store, open_store

SPEED = 240
SLOWER = 120  # where an agent starts again: 15 simulated minutes of silence would end the call
LATE_KWH = 3.5 * 0.05 * SPEED / 3600  # the tower's base load while a reading takes 50 ms to arrive


class Figures:
    """What the demo prints at its end."""

    def __init__(self, text: str) -> None:
        self.text = text

    def number(self, pattern: str) -> float:
        found = re.search(pattern, self.text)
        assert found is not None, f"{pattern!r} not in:\n{self.text}"
        return float(found[1].replace(",", ""))

    @property
    def lost_and_doubled(self) -> tuple[float, float]:
        return self.number(r"lost (\d+)"), self.number(r"doubled (\d+)")

    @property
    def minutes_kwh(self) -> float:
        return self.number(r"minutes of meter-1: ([\d,.]+) kWh")

    @property
    def plant_kwh(self) -> float:
        return self.number(r"register over them ([\d,.]+) kWh")


def demo(out: Path, *options: str, speed: int = SPEED) -> Process:
    command = ["python", "-m", "gateway.cli", "demo", "--out", str(out), *fast(speed), *options]
    return Process(command, ready=None)


def fast(speed: int) -> list[str]:
    """At 240, one call in 19 seconds."""
    return ["--speed", str(speed), "--interval", "3s", "--plain"]


def finish(process: Process, out: Path) -> Figures:
    code = process.wait(180)
    text = "\n".join(process.said)
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in out.glob("*.log"))
    assert code == 0, f"exit {code}\n{text}\n{logs}"
    return Figures(text)


def kill(process: Process, out: Path, name: str, simulated_minutes: list[float], speed: int) -> None:
    """kill -9 one process of a running demo at these simulated times after its start."""
    clock = out / "clock.json"
    while not (clock.exists() and json.loads(clock.read_text())["origin_monotonic_ns"]):
        assert process.child.poll() is None, "\n".join(process.said)
        time.sleep(0.05)
    started_ns = json.loads(clock.read_text())["origin_monotonic_ns"]
    for minutes in simulated_minutes:
        due_ns = started_ns + int(minutes * 60e9 / speed)
        time.sleep(max(0.0, (due_ns - time.monotonic_ns()) / 1e9))
        pid = json.loads((out / "pids.json").read_text())[name]
        os.kill(pid, signal.SIGKILL)
        while json.loads((out / "pids.json").read_text())[name] == pid:
            assert process.child.poll() is None, "\n".join(process.said)
            time.sleep(0.02)


def test_a_killed_edge_loses_its_scans_and_nothing_else(tmp_path: Path) -> None:
    with demo(tmp_path, speed=SLOWER) as process:
        kill(process, tmp_path, "edge", [22.0, 38.0], SLOWER)  # in the middle of the call
        figures = finish(process, tmp_path)
    assert figures.lost_and_doubled == (0, 0)
    assert figures.minutes_kwh == pytest.approx(figures.plant_kwh, abs=LATE_KWH)  # the register counted on
    assert figures.plant_kwh > 3000
    covered_s = figures.number(r"covered ([\d,.]+) s of")
    assert covered_s < figures.number(r"covered [\d,.]+ s of ([\d,.]+) s") - 120  # the holes stay holes
    assert figures.number(r"held the truth on ([\d.]+) %") > 80
    assert figures.number(r"RMSE ([\d.]+) %") < 3


def test_a_killed_shore_changes_no_figure(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        kill(process, tmp_path, "shore", [20.0, 40.0], SPEED)
        figures = finish(process, tmp_path)
    assert figures.lost_and_doubled == (0, 0)
    assert figures.minutes_kwh == pytest.approx(figures.plant_kwh, abs=LATE_KWH)
    assert figures.number(r"call 1: ([\d,.]+) kWh by register") == pytest.approx(figures.plant_kwh, rel=0.01)
    assert abs(figures.number(r"difference ([+-][\d.]+) %")) < 0.5


@pytest.mark.mosquitto
def test_everything_on_the_broker_can_be_read_by_others(tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    with Mosquitto(tmp_path) as broker, heard.open("w") as sink:
        listen = ["mosquitto_sub", "-p", str(broker.port), "-t", "bollard/#", "-F", "%t %x", "-q", "1"]
        with subprocess.Popen(listen, stdout=sink) as subscriber:
            try:
                with demo(tmp_path / "out", "--broker", f"127.0.0.1:{broker.port}", "--span", "20m") as process:
                    finish(process, tmp_path / "out")
            finally:
                subscriber.terminate()
    leaves: dict[str, int] = {}
    for line in heard.read_text().splitlines():
        topic, _, hexed = line.partition(" ")
        payload = bytes.fromhex(hexed)
        leaf = topic.rpartition("/")[2]
        leaves[leaf] = leaves.get(leaf, 0) + 1
        if leaf == "data-z":
            payload = wire.inflate(payload)
        if leaf in ("data", "data-z"):
            rows = [row for row in payload.decode().splitlines() if not row.startswith("#")]
            assert rows
            for row in rows:
                assert parse_line(row)["tags"]["site"] == "demo-port"
        else:
            assert json.loads(payload)
    assert leaves.keys() >= {"data", "receipt", "status", "catalogue"}
    assert leaves["data"] > 20


@pytest.mark.influx
def test_influxdb_gives_the_same_report(
    tmp_path: Path, influx_server: InfluxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = influx_server.access
    options = ["--influx", access.url, "--org", access.org, "--bucket", "demo"]
    with Process(
        ["python", "-m", "gateway.cli", "demo", "--out", str(tmp_path), *fast(SPEED), *options],
        ready=None, env={"BOLLARD_INFLUX_TOKEN": access.token},
    ) as process:  # fmt: skip
        figures = finish(process, tmp_path)
    assert figures.lost_and_doubled == (0, 0)
    assert access.token not in "".join(path.read_text(errors="replace") for path in tmp_path.glob("*.toml"))
    monkeypatch.setenv("BOLLARD_INFLUX_TOKEN", access.token)
    influx = load_shore(tmp_path / "shore.toml").store.open()
    sqlite = open_store(f"sqlite:{tmp_path}/copy.db")
    book = Book(tmp_path / "book.db")
    copy_rows(influx, sqlite, book)
    for language in ("fr", "en"):
        for render in (render_markdown, render_html):
            first, second = (
                render(build(store, book, "2026-10", "demo-port"), language) for store in (influx, sqlite)
            )
            assert first == second
            assert "SIMULATION" in first
    for part in (influx, sqlite, book):
        part.close()


def copy_rows(source: Store, target: Store, book: Book) -> None:
    """All that a report reads, from one store into another."""
    catalogue = book.catalogue("demo-port", "gw-quay-1")
    assert catalogue is not None
    types = catalogue.field_types() | {(kind, ""): fields for kind, fields in wire.COMPUTED.items()}
    for series in source.series():
        device = series.tags.get("device")
        fields = types.get((series.kind, device or "")) or types[series.kind, ""]
        columns = source.columns(series.kind, device, list(fields), 0, 2**62, all_revisions=True)
        mine = [i for i in range(len(columns)) if all(columns.tags[t][i] == v for t, v in series.tags.items())]
        rows = []
        for i in mine:
            values: dict[str, wire.Value] = {}
            for name, kind in fields.items():
                if kind == "str" and columns.text[name][i] is not None:
                    values[name] = columns.text[name][i]
                elif kind == "int" and (whole := int(columns.whole(name)[i])) != UNKNOWN:
                    values[name] = whole
                elif kind == "float" and np.isfinite(columns[name][i]):
                    values[name] = float(columns[name][i])
            rows.append(wire.RowLine(series.kind, series.tags, values, int(columns.t_ns[i])))
        assert target.write(rows, types) == []
    assert target.count("demo-port", "gw-quay-1") == source.count("demo-port", "gw-quay-1")


@pytest.mark.shared
def test_a_recording_without_a_call_judges_the_charge_only(tmp_path: Path, shared: Path) -> None:
    recording = shared / "data" / "battery" / "lg_hg2" / "drive_25degC_UDDS.csv.gz"
    with demo(tmp_path, "--recording", str(recording), "--span", "30m") as process:
        figures = finish(process, tmp_path)
    assert "no call in this recording" in figures.text
    assert figures.lost_and_doubled == (0, 0)
    assert figures.number(r"RMSE ([\d.]+) %") < 3


def test_ctrl_c_stops_everything_cleanly(tmp_path: Path) -> None:
    with demo(tmp_path) as process:
        while not (tmp_path / "pids.json").exists():
            assert process.child.poll() is None, "\n".join(process.said)
            time.sleep(0.05)
        pids = json.loads((tmp_path / "pids.json").read_text())
        process.child.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    assert [name for name, pid in pids.items() if Path(f"/proc/{pid}").exists()] == []


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--span", "soon"], 2, "is no length of time"),
        (["--recording", "nowhere.csv"], 2, "nowhere.csv"),
        (["--broker", "127.0.0.1:1"], 4, "127.0.0.1:1"),
    ],
)
def test_bad_input_gets_one_clear_sentence(tmp_path: Path, options: list[str], code: int, message: str) -> None:
    with demo(tmp_path, *options) as process:
        assert process.wait(60) == code
    text = "\n".join(process.said)
    assert message in text
    assert "Traceback" not in text


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with demo(tmp_path / "file" / "out") as process:
        assert process.wait(60) == 2
    assert "choose another folder with --out" in "\n".join(process.said)
