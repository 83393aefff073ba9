"""What goes over the wire toward equipment in a whole run: requests that read, and nothing else."""

import contextlib
import json
import time
from pathlib import Path

from processes import Process
from tap import Tap, modbus_functions, opcua_services

from gateway.demo import EPOCH_NS
from gateway.demo_files import DemoOptions, shore_toml, site_toml

READING = {1, 2, 3, 4, 43}
CHANNEL_AND_SESSION = {
    "HEL", "OPN", "CLO", "CreateSessionRequest", "ActivateSessionRequest", "CloseSessionRequest",
}  # fmt: skip
DISCOVERY_AND_READING = {
    "GetEndpointsRequest", "FindServersRequest", "ReadRequest", "BrowseRequest", "BrowseNextRequest",
    "TranslateBrowsePathsToNodeIdsRequest", "RegisterNodesRequest", "UnregisterNodesRequest", "HistoryReadRequest",
    "CreateSubscriptionRequest", "ModifySubscriptionRequest", "DeleteSubscriptionsRequest", "PublishRequest",
    "RepublishRequest", "SetPublishingModeRequest", "CreateMonitoredItemsRequest", "ModifyMonitoredItemsRequest",
    "DeleteMonitoredItemsRequest",
}  # fmt: skip


ENOUGH_BYTES = 4000  # of requests: some 300, once kernels are loaded and all devices answer


def heard(tap: Tap) -> int:
    return sum(len(bytes(stream)) for stream in tap.streams)


def test_a_whole_run_sends_only_requests_that_read(tmp_path: Path) -> None:
    clock = tmp_path / "clock.json"
    options = DemoOptions(60.0, 900.0, 1.0, None, None, None, None, None, "", "", "")

    def set_clock(origin_ns: int | None) -> None:
        clock.write_text(json.dumps({"epoch_ns": EPOCH_NS, "speed": 60.0, "origin_monotonic_ns": origin_ns}))

    set_clock(None)
    (tmp_path / "shore.toml").write_text(shore_toml(options))
    simulator = [
        "python",
        "-m",
        "firmware_sim.cli",
        "run",
        "demo-port",
        "--sim-clock",
        str(clock),
        "--span",
        "900",
    ]
    with contextlib.ExitStack() as stack:
        sim = stack.enter_context(Process(simulator))
        shore = stack.enter_context(
            Process(["python", "-m", "gateway.cli", "ingest", "--shore", str(tmp_path / "shore.toml")])
        )
        serving = json.loads(sim.ready_line[5:])
        taps = {name: stack.enter_context(Tap(device["port"])) for name, device in serving["devices"].items()}
        for name, device in serving["devices"].items():
            if "url" in device:
                device["url"] = device["url"].replace(str(device["port"]), str(taps[name].port))
            device["port"] = taps[name].port
        port = json.loads(shore.ready_line[5:])["port"]
        site = tmp_path / "site.toml"
        site.write_text(site_toml(options, serving["devices"], serving["berths"]["berth-1"]["pack"], port))
        edge = stack.enter_context(
            Process(["python", "-m", "edge.cli", "run", "--site", str(site), "--sim-clock", str(clock)])
        )
        set_clock(time.monotonic_ns())
        end_s = time.monotonic() + 120.0
        while min(map(heard, taps.values())) < ENOUGH_BYTES and time.monotonic() < end_s:
            time.sleep(0.2)
        time.sleep(5.0)  # five minutes of a call's approach
        assert edge.terminate() == 0, "\n".join(edge.said)

    functions: dict[str, list[int]] = {}
    for name in ("charger-1", "meter-1", "lock-1"):
        functions[name] = [code for stream in taps[name].streams for code in modbus_functions(bytes(stream))]
        assert len(functions[name]) > 200, f"{name}: {len(functions[name])} requests heard"
        assert set(functions[name]) <= READING
    services = [name for stream in taps["ferry-bms"].streams for name in opcua_services(bytes(stream))]
    assert services.count("ReadRequest") > 200
    assert set(services) <= CHANNEL_AND_SESSION | DISCOVERY_AND_READING
