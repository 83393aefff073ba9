"""The demo with what others bring: their broker, on which everybody can read, and their recording.

One run for both; without mosquitto it takes the embedded broker, without the recordings its own.
"""

import json
import subprocess
from dataclasses import dataclass

import pytest
from conftest import mosquitto, shared_folder
from demo_run import Figures, demo, finish
from line_protocol_parser import parse_line
from servers.mosquitto import Mosquitto

from edge import wire


@dataclass(frozen=True)
class Run:
    figures: Figures
    heard: list[str]  # topic and hexadecimal payload of each message


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("demo")
    options = ["--span", "30m"]
    if shared := shared_folder():
        options += ["--recording", str(shared / "data" / "battery" / "lg_hg2" / "drive_25degC_UDDS.csv.gz")]
    if not mosquitto():
        with demo(folder / "out", *options) as process:
            return Run(finish(process, folder / "out"), [])
    heard = folder / "heard.txt"
    with Mosquitto(folder) as broker, heard.open("w") as sink:
        listen = ["mosquitto_sub", "-p", str(broker.port), "-t", "bollard/#", "-F", "%t %x", "-q", "1"]
        with subprocess.Popen(listen, stdout=sink) as subscriber:
            try:
                with demo(folder / "out", "--broker", f"127.0.0.1:{broker.port}", *options) as process:
                    figures = finish(process, folder / "out")
            finally:
                subscriber.terminate()
    return Run(figures, heard.read_text().splitlines())


@pytest.mark.mosquitto
def test_everything_on_the_broker_can_be_read_by_others(run: Run) -> None:
    leaves: dict[str, int] = {}
    for line in run.heard:
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


@pytest.mark.shared
def test_a_recording_without_a_call_judges_the_charge_only(run: Run) -> None:
    figures = run.figures
    assert "no call in this recording" in figures.text
    assert figures.lost_and_doubled == (0, 0)
    assert figures.number(r"RMSE ([\d.]+) %") < 3
