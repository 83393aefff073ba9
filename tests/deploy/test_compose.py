"""compose.yaml without a container engine: its set-up runs for real, its results go to the real servers."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import yaml
from conftest import ROOT, influxd
from processes import free_port
from servers.influx import TOKEN, InfluxServer
from servers.mosquitto import Mosquitto

from edge.wire import Value, encode_row

DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DASHBOARDS = sorted((DEPLOY / "compose/grafana/dashboards").glob("*.json"))
NS, HOUR_S = 1_000_000_000, 3600


def mounts() -> list[tuple[str, str]]:
    return [
        (service, volume.split(":")[0])
        for service, told in COMPOSE["services"].items()
        for volume in told["volumes"]
    ]


def test_each_volume_is_declared_or_a_folder_here() -> None:
    for service, source in mounts():
        if source.startswith("."):
            assert (DEPLOY / source).is_dir(), service
        else:
            assert source in COMPOSE["volumes"], service


def test_who_runs_as_our_user_owns_its_volumes() -> None:
    """A volume has the owner of what it covers first: a folder of our image, since `setup` mounts it first."""
    made = re.findall(
        r"install -d -o bollard -g bollard (.+)$", (DEPLOY / "Containerfile").read_text(), re.MULTILINE
    )
    owned = set(made[0].split())
    first = dict(volume.split(":")[:2] for volume in COMPOSE["services"]["setup"]["volumes"])
    for name, told in COMPOSE["services"].items():
        if name == "influxdb":  # its image sets its owner itself
            continue
        for source, target in (volume.split(":")[:2] for volume in told["volumes"] if not volume.startswith(".")):
            assert target in owned if "build" in told else first[source] in owned, (name, source)
            assert "build" in told or "setup" in told["depends_on"], name


def test_what_compiles_kernels_keeps_them() -> None:
    folder = re.findall(r"NUMBA_CACHE_DIR=(\S+)", (DEPLOY / "Containerfile").read_text())[0]
    for name, told in COMPOSE["services"].items():
        if told.get("read_only"):
            assert f"kernels:{folder}" in told["volumes"], name


def test_each_variable_has_its_line_in_the_example() -> None:
    named = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    assert named == {line.split("=")[0] for line in lines if line and not line.startswith("#")}


def test_who_waits_for_whom_is_there_and_no_secret_stands_in_the_file() -> None:
    for told in COMPOSE["services"].values():
        assert set(told.get("depends_on", {})) <= set(COMPOSE["services"])
        for name, value in told.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN", name):
                assert value.startswith("${"), name


def test_commands_of_ours_exist() -> None:
    given = [COMPOSE["services"][service]["command"][:1] for service in ("ingest", "serve")]
    for words in (*given, COMPOSE["services"]["report"]["entrypoint"][1:3]):
        command = [sys.executable, "-m", "gateway.cli", *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0 and "--shore" in done.stdout, done.stderr


@pytest.mark.parametrize("file", DASHBOARDS, ids=lambda file: file.stem)
def test_a_dashboard_names_the_provisioned_source_alone(file: Path) -> None:
    source = yaml.safe_load((DEPLOY / "compose/grafana/provisioning/datasources/influx.yaml").read_text())
    uid = source["datasources"][0]["uid"]
    board = json.loads(file.read_text())
    assert board["uid"] == f"bollard-{file.stem}"
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == uid
        assert all(target["datasource"]["uid"] == uid for target in panel["targets"])


# With the real servers.


def set_up(folder: Path, influx: str, port: int, gateways: str) -> None:
    """What the service `setup` does, in folders instead of volumes."""
    config = folder / "config"
    if not config.exists():
        config.mkdir()
        for name in ("ingest.toml", "serve.toml"):
            text = (DEPLOY / "compose" / name).read_text().replace("http://influxdb:8086", influx)
            text = text.replace('host     = "mosquitto"', f'host     = "127.0.0.1"\nport     = {port}')
            (config / name).write_text(text.replace("/shore/", f"{folder}/shore/"))
        for name in ("ca", "broker", "shore", "bin"):
            (folder / name).mkdir()
        program = folder / "bin/bollard"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m gateway.cli "$@"\n')
        program.chmod(0o755)
    environment = os.environ | {
        "CONFIG": str(config), "CA": str(folder / "ca"), "BROKER": str(folder / "broker"),
        "SHORE": str(folder / "shore"), "PATH": f"{folder}/bin:{os.environ['PATH']}", "PUBLIC_HOST": "127.0.0.1",
        "GATEWAYS": gateways, "BOLLARD_INFLUX_ADMIN_TOKEN": TOKEN,
    }  # fmt: skip
    done = subprocess.run(
        ["sh", DEPLOY / "compose/setup.sh"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def rows(now_s: int) -> dict[str, list[str]]:
    """By bucket: two hours of a berth, a lock and their gateway; a corrected minute, a call that was none."""
    tags = {"site": "port", "gateway": "gw", "origin": "real"}
    made: dict[str, list[str]] = {"raw": [], "minutes": [], "events": []}

    def put(bucket: str, kind: str, device: str, t_s: int, fields: dict[str, Value], **more: str) -> None:
        whose = tags | ({"device": device} if device else {}) | more
        made[bucket].append(encode_row(kind, whose, fields, t_s * NS))

    begin_s = (now_s // HOUR_S - 2) * HOUR_S
    minute: dict[str, Value] = {
        "import_wh": 1000, "export_wh": 0, "covered_s": 60.0, "measured_wh": 1000, "integrated_wh": 0,
        "estimated_wh": 0,
    }  # fmt: skip
    for t_s in range(begin_s, begin_s + 2 * HOUR_S, 60):
        put("minutes", "energy_1m", "meter-1", t_s, minute, rev="0")
        put("raw", "meter", "meter-1", t_s, {"power_w": 60_000.0})
        put("raw", "soc", "bms", t_s, {"soc": 0.5, "soc_low": 0.45, "soc_high": 0.55}, vessel="aurelie")
        put("raw", "lock", "lock-1", t_s, {"level_upstream_m": 21.5, "level_downstream_m": 18.0})
        put("raw", "link", "meter-1", t_s, {"connected": 1})
        put(
            "raw", "gateway", "", t_s,
            {"waiting_rows": 3, "dropped_rows": 0, "disk_free_bytes": 10**9, "clock_trusted": 1, "uptime_s": 60.0,
             "rss_bytes": 10**8, "oldest_s": 1.0},
        )  # fmt: skip
    put("minutes", "energy_1m", "meter-1", begin_s, minute | {"import_wh": 5000}, rev="9")
    put("minutes", "energy_1m", "meter-1", begin_s, minute | {"import_wh": 7000}, rev="1000")
    call: dict[str, Value] = {"energy_wh": 9_000_000, "peak_power_w": 2e7, "interruptions": 0}
    put("minutes", "session", "tower-1", begin_s, call, rev="0")
    put("minutes", "session", "tower-1", begin_s + 60, call, rev="0")
    put("minutes", "session", "tower-1", begin_s + 60, call | {"withdrawn": 1}, rev="1")
    put("minutes", "lock_cycle", "lock-1", begin_s, {"complete": 1, "direction": "up"}, rev="0")
    put("events", "event", "lock-1", begin_s, {"active": 1}, code="lock_head_at_opening")
    put("events", "event", "", begin_s, {"rows": 7, "text": "detail"}, code="rows_dropped")
    return made


def panel_query(board: str, title: str) -> str:
    panels = json.loads((DEPLOY / f"compose/grafana/dashboards/{board}.json").read_text())["panels"]
    return str(next(panel["targets"][0]["query"] for panel in panels if panel["title"] == title))


def at_s(row: dict[str, str]) -> float:
    return datetime.fromisoformat(row["_time"]).timestamp()


def post(server: InfluxServer, path: str, body: bytes, kind: str, token: str) -> str:
    headers = {"Authorization": f"Token {token}", "Content-Type": kind, "Accept": "application/csv"}
    request = urllib.request.Request(server.access.url + path, data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            return str(reply.read().decode())
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{path}: {error.read().decode()}\n{body[:2000].decode()}") from error


def asked(server: InfluxServer, query: str, token: str, since: str = "-4h") -> list[dict[str, str]]:
    """The rows of a panel, as Grafana asks for them: `v.…` filled in, and with the token that may only read."""
    for name, value in {"timeRangeStart": since, "timeRangeStop": "now()", "windowPeriod": "1m"}.items():
        query = query.replace(f"v.{name}", value)
    answer = post(server, "/api/v2/query?org=port", query.encode(), "application/vnd.flux", token)
    found: list[dict[str, str]] = []
    names: list[str] = []
    for line in answer.split("\r\n"):
        cells = line.split(",")
        if line.startswith(",result,table"):
            names = cells
        elif line:
            found.append(dict(zip(names, cells, strict=False)))
    return found


@pytest.mark.influx
@pytest.mark.mosquitto
def test_set_up_broker_and_dashboards_with_the_real_servers(tmp_path: Path) -> None:
    binary = influxd()
    assert binary is not None, "use the marker influx"
    port, data = free_port(), tmp_path / "influx"
    data.mkdir()
    with InfluxServer(binary, data) as server:
        set_up(tmp_path, server.access.url, port, "port/gw")
        before = {file: file.read_bytes() for file in (tmp_path / "ca").glob("*.key")}
        set_up(tmp_path, server.access.url, port, "port/gw port/second")
        assert all(file.read_bytes() == content for file, content in before.items())  # nobody is locked out
        assert "user port/second" in (tmp_path / "broker/acl").read_text()
        now_s = int(time.time())
        for bucket, lines in rows(now_s).items():
            where = f"/api/v2/write?org=port&bucket=bollard-{bucket}&precision=ns"
            post(server, where, "\n".join(lines).encode(), "text/plain", TOKEN)
        token = (tmp_path / "shore/bollard-report.token").read_text().strip()
        for file in DASHBOARDS:
            for panel in json.loads(file.read_text())["panels"]:
                for target in panel["targets"]:
                    assert asked(server, target["query"], token), f"{file.stem}: {panel['title']}: nothing"
        hours = asked(server, panel_query("berths", "Énergie par heure / Energy per hour"), token)
        begin_s = (now_s // HOUR_S - 2) * HOUR_S
        assert [at_s(hour) for hour in hours] == [begin_s, begin_s + HOUR_S]  # an hour stands at its begin
        assert sum(float(hour["_value"]) for hour in hours) == 119 * 1000 + 7000  # the newest revision alone
        calls = asked(server, panel_query("berths", "Escales / Calls"), token)
        assert len(calls) == 1  # not the one that was withdrawn
        days = asked(server, panel_query("locks", "Bassinées par jour / Lockages per day"), token, since="-3d")
        day = datetime.fromtimestamp(begin_s, ZoneInfo("Europe/Paris")).replace(hour=0, minute=0, second=0)
        assert [(at_s(found), float(found["_value"])) for found in days] == [(day.timestamp(), 1.0)]
    with (tmp_path / "broker/mosquitto.conf").open("a") as configuration:
        configuration.write("user root\n")  # in the container it starts as the owner of these files
    with Mosquitto(tmp_path, made=tmp_path / "broker", port=port) as broker:
        # who looks whether the port is open speaks no TLS, and is called an OpenSSL error
        assert not [line for line in broker.log.split("\n") if "Error" in line and "OpenSSL" not in line]
