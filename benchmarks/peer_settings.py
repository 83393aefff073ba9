"""The same task for each of those compared: read these ports' registers once a second, publish them with QoS 1."""

import json
from pathlib import Path
from typing import Any

PROFILE_HEAD = 'schema = 1\nkind = "meter"\nmodel = "registers"\nsource = "benchmarks/peers"\n'


def for_agent(folder: Path, ports: list[int], registers: int, broker: int) -> Path:
    """A site file and its profile."""
    points = [f'[[point]]\nname = "p{i}"\naddress = {i}\ntype = "uint16"\n' for i in range(registers)]
    (folder / "registers.toml").write_text(PROFILE_HEAD + "".join(points))
    site = f'schema = 1\n[site]\nname = "peers"\ngateway = "gw"\n[broker]\nhost = "127.0.0.1"\nport = {broker}\n'
    site += "[clock]\nrequire = false\n"
    for i, port in enumerate(ports):
        site += (
            f'[[device]]\nname = "d{i}"\nprofile = "registers.toml"\norigin = "sim"\nhost = "127.0.0.1"\n'
            f"port = {port}\ninterval_s = 1.0\ntimeout_s = 1.0\n"
        )
    (folder / "site.toml").write_text(site)
    return folder / "site.toml"


def for_thingsboard(folder: Path, ports: list[int], registers: int, broker: int) -> None:
    """Its settings as shipped, but for host, remote configuration and statistics; only warnings are logged."""
    limits = "DEFAULT_TELEMETRY_RATE_LIMIT"
    general = {
        "thingsboard": {
            "host": "127.0.0.1", "port": broker, "remoteShell": False, "remoteConfiguration": False,
            "statistics": {"enable": False, "enableCustom": False}, "maxPayloadSizeBytes": 8196,
            "minPackSendDelayMS": 50, "minPackSizeToSend": 500, "checkConnectorsConfigurationInSeconds": 60,
            "handleDeviceRenaming": True, "security": {"type": "accessToken", "accessToken": "peers"}, "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"}, "rateLimits": limits, "deviceRateLimits": limits,
        },
        "storage": {"type": "memory", "read_records_count": 100, "max_records_count": 100_000},
        "grpc": {"enabled": False},
        "connectors": [{"type": "modbus", "name": "modbus", "configuration": "modbus.json"}],
    }  # fmt: skip
    tags = [
        {"tag": f"p{i}", "type": "16uint", "functionCode": 3, "objectsCount": 1, "address": i}
        for i in range(registers)
    ]
    slaves = [
        {
            "host": "127.0.0.1", "port": port, "type": "tcp", "method": "socket", "unitId": 1,
            "deviceName": f"d{i}", "deviceType": "default", "timeout": 2, "byteOrder": "BIG", "wordOrder": "BIG",
            "retries": 0, "pollPeriod": 1000, "attributes": [], "timeseries": tags, "attributeUpdates": [],
            "rpc": [],
        }
        for i, port in enumerate(ports)
    ]  # fmt: skip
    console = {"handlers": ["console"], "level": "WARNING", "propagate": False}
    names = ("service", "tb_connection", "storage", "database", "extension", "connector", "converter")
    logs = {
        "version": 1, "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler", "stream": "ext://sys.stdout"}},
        "loggers": dict.fromkeys(names, console), "root": {"handlers": ["console"], "level": "WARNING"},
    }  # fmt: skip
    for name, content in (("tb_gateway", general), ("modbus", {"master": {"slaves": slaves}}), ("logs", logs)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    (folder / "connected_devices.json").write_text("{}")


def for_node_red(folder: Path, ports: list[int], registers: int, broker: int, admin: int) -> None:
    """A flow per device: read a block, name the values, publish one message. Status and queue logs are off."""
    flow: list[dict[str, Any]] = [
        {"id": "tab", "type": "tab", "label": "peers"},
        {"id": "broker", "type": "mqtt-broker", "broker": "127.0.0.1", "port": str(broker), "clientid": "node-red",
         "autoConnect": True, "usetls": False, "protocolVersion": "4", "keepalive": "60", "cleansession": True},
    ]  # fmt: skip
    named = "const values = {};\nmsg.payload.forEach((value, i) => { values['p' + i] = value; });\n"
    for i, port in enumerate(ports):
        flow += [
            {"id": f"client{i}", "type": "modbus-client", "name": f"d{i}", "clienttype": "tcp",
             "bufferCommands": True, "stateLogEnabled": False, "queueLogEnabled": False, "failureLogEnabled": True,
             "tcpHost": "127.0.0.1", "tcpPort": str(port), "tcpType": "DEFAULT", "unit_id": 1, "commandDelay": 1,
             "clientTimeout": 1000, "reconnectOnTimeout": True, "reconnectTimeout": 2000,
             "parallelUnitIdsAllowed": True},
            {"id": f"read{i}", "type": "modbus-read", "z": "tab", "name": f"d{i}", "topic": "", "unitid": "1",
             "showStatusActivities": False, "dataType": "HoldingRegister", "adr": "0", "quantity": str(registers),
             "rate": "1", "rateUnit": "s", "server": f"client{i}", "wires": [[f"name{i}"], []]},
            {"id": f"name{i}", "type": "function", "z": "tab", "outputs": 1, "wires": [[f"out{i}"]],
             "func": named + "return { payload: JSON.stringify({ ts: Date.now(), values }) };"},
            {"id": f"out{i}", "type": "mqtt out", "z": "tab", "topic": f"node-red/d{i}", "qos": "1",
             "retain": "false", "broker": "broker", "wires": []},
        ]  # fmt: skip
    (folder / "flows.json").write_text(json.dumps(flow))
    (folder / "settings.js").write_text(
        f"module.exports = {{ uiPort: {admin}, uiHost: '127.0.0.1', disableEditor: true, httpAdminRoot: false,\n"
        "  flowFile: 'flows.json', telemetry: { enabled: false }, logging: { console: { level: 'info' } } };\n"
    )
