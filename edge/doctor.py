"""`bollard edge doctor`: is all there that a gateway needs for years? Each line is good, or says what to do.

A check yields `Line`s and never raises for what it finds. The sentences are in `text/`: `doctor.<key>`, and
`doctor_do.<key>` where there is something to do.
"""

import asyncio
import ipaddress
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from drivers.errors import ProfileError
from drivers.row import Quality
from edge.commissioned import Commissioned
from edge.config import ConfigError, LoadedSite
from edge.doctor_broker import broker_lines
from edge.doctor_line import Line
from edge.doctor_machine import Machine, clock_lines, disk_lines, forward_lines
from edge.local import socket_path
from edge.local_client import AgentGone, agent_at
from edge.modbus_settings import modbus_address
from edge.mqtt import host_port
from edge.spool import SpoolError
from edge.texts import Texts
from edge.watch import Watched

Group = Literal["clock", "disk", "machine", "network", "broker", "agent", "devices"]
GROUPS: tuple[Group, ...] = ("clock", "disk", "machine", "network", "broker", "agent", "devices")
NS = 1_000_000_000
LONG_BEHIND_S = 600.0
RECEIPT_S = 10.0


@dataclass
class Patient:
    """What is looked at, and how.

    Attributes:
        status: Of the running agent; None where none runs.
        wait_s: How long a receipt may take. [s]
    """

    loaded: LoadedSite
    version: str
    machine: Machine = field(default_factory=Machine)
    wait_s: float = RECEIPT_S
    status: dict[str, Any] | None = None


async def examine(patient: Patient, groups: Collection[Group] = GROUPS) -> AsyncIterator[Line]:
    """The lines of these groups, as they are found."""
    loaded = patient.loaded
    try:
        async with agent_at(socket_path(loaded.spool_path).absolute()) as agent:
            patient.status = None if agent is None else await agent.status()
    except PermissionError as error:
        yield Line("agent", "", "bad", "agent_not_ours", {"path": str(error.filename)})
        groups = [group for group in groups if group not in ("agent", "devices")]
    except AgentGone as error:
        yield Line("agent", "", "bad", "agent_gone", {"why": str(error)})
    site, status = loaded.site, patient.status
    quick: dict[str, Callable[[], list[Line]]] = {
        "clock": lambda: list(clock_lines(patient.machine, site.clock.require, status)),
        "disk": lambda: list(disk_lines(patient.machine, loaded.spool_path, site.spool)),
        "machine": lambda: [*forward_lines(patient.machine), *_kernels(loaded)],
        "agent": lambda: [*_agent(status), *_commissioned(loaded)],
    }
    for group in GROUPS:
        if group not in groups:
            continue
        if group == "network":
            for line in await _names(loaded):
                yield line
        elif group == "broker":
            async for line in broker_lines(loaded, patient.version, status, patient.wait_s):
                yield line
        elif group == "devices":
            for line in await _devices(loaded):
                yield line
        else:
            for line in await asyncio.to_thread(quick[group]):
                yield line


def _kernels(loaded: LoadedSite) -> list[Line]:
    from edge.kernels import were_warm  # Numba: only where it is asked for

    folder = os.environ.get("NUMBA_CACHE_DIR", "-")
    start_s = time.monotonic()
    warm = were_warm({profile.kind for profile in loaded.profiles.values()})
    values = {"folder": folder, "seconds": time.monotonic() - start_s}
    return [Line("kernels", "", "good", "kernels_warm" if warm else "kernels_compiled", values)]


def _agent(status: dict[str, Any] | None) -> list[Line]:
    """Until when what has been read is ashore, by the running agent."""
    if status is None:
        return [Line("agent", "", "note", "agent_none")]
    lines = [Line("agent", "", "good", "agent_runs", {"version": status["version"]})]
    if status["dropped"]:
        lines.append(Line("agent", "", "bad", "agent_dropped", {"rows": status["dropped"]}))
    for name, device in status.get("devices", {}).items():
        until_ns = device["confirmed_until_ns"]
        behind_s = (status["now_ns"] - until_ns) / NS if until_ns else 0.0  # by the agent's own clock
        values = {"behind_s": max(0.0, behind_s), "until_ns": until_ns, "waiting": status["waiting"]}
        if not until_ns:
            lines.append(Line("confirmed", name, "note", "confirmed_nothing", values))
        elif behind_s > LONG_BEHIND_S and status["waiting"]:
            lines.append(Line("confirmed", name, "bad", "confirmed_behind", values))
        else:
            lines.append(Line("confirmed", name, "good", "confirmed", values))
    return lines


def _commissioned(loaded: LoadedSite) -> list[Line]:
    """Meters: their energy is provisional until the second sheet is signed."""
    try:
        signed = Commissioned(loaded)
    except ConfigError as error:
        return [Line("commissioned", "", "bad", "commissioned_damaged", {"why": str(error)})]
    lines = []
    for device in loaded.site.device:
        if loaded.profiles[device.name].kind == "meter":
            state = signed.state(device)
            good = state == "signed"
            lines.append(Line("commissioned", device.name, "good" if good else "note", f"commissioned_{state}"))
    return lines


async def _names(loaded: LoadedSite) -> list[Line]:
    """Each name that a site file gives for a host, found or not."""
    broker = loaded.site.broker
    hosts = dict.fromkeys([broker.host, *(host_port(text, broker.port)[0] for text in broker.fallback)])
    for device in loaded.site.device:
        if device.host:
            hosts.setdefault(device.host)
        elif device.url:
            hosts.setdefault(device.url.split("://", 1)[1].rpartition(":")[0].strip("[]"))
    found = await asyncio.gather(*(_name(host) for host in hosts))
    return [line for line in found if line is not None]


async def _name(host: str) -> Line | None:
    try:
        ipaddress.ip_address(host)
        return None  # an address needs no DNS
    except ValueError:
        pass
    try:
        async with asyncio.timeout(RECEIPT_S):
            infos = await asyncio.get_running_loop().getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        return Line(
            "dns", host, "bad", "dns_unknown", {"why": getattr(error, "strerror", "") or str(error) or "-"}
        )
    return Line("dns", host, "good", "dns", {"addresses": ", ".join(dict.fromkeys(str(i[4][0]) for i in infos))})


async def _devices(loaded: LoadedSite) -> list[Line]:
    """Each device answers, through the agent where one runs."""
    try:
        async with Watched(loaded, []) as watched:
            await watched.settled()
            watched.look()
            if watched.trouble:
                return [Line("device", "", "bad", "devices_held", {"why": watched.trouble})]
            return [_device(loaded, seen) for seen in watched.devices.values()]
    except SpoolError as error:  # an agent that does not answer holds the lock
        return [Line("device", "", "bad", "devices_held", {"why": str(error)})]
    except ProfileError as error:
        return [Line("device", "", "bad", "learned_damaged", {"why": str(error)})]


def _device(loaded: LoadedSite, seen: Any) -> Line:
    device = next(d for d in loaded.site.device if d.name == seen.name)
    serial = device.serial is not None
    where = seen.endpoint if seen.profile.protocol == "opcua" else modbus_address(device, Path()).endpoint
    values = {"where": where, "points": len(seen.profile.points)}
    if not seen.connected:
        return Line("device", seen.name, "bad", "device_silent_serial" if serial else "device_silent", values)
    doubtful = [
        point.name for point, quality in zip(seen.profile.points, seen.quality, strict=True)
        if quality in (Quality.OUT_OF_RANGE, Quality.REFUSED, Quality.TOO_LARGE, Quality.NONSENSE)
    ]  # fmt: skip
    if doubtful:
        return Line("device", seen.name, "bad", "device_doubtful", values | {"names": ", ".join(doubtful)})
    return Line("device", seen.name, "good", "device", values)


def as_data(lines: Collection[Line], texts: Texts) -> dict[str, Any]:
    """What `--json` prints."""
    return {
        "good": all(line.state != "bad" for line in lines),
        "lines": [
            {
                "check": line.check, "subject": line.subject, "state": line.state, "key": line.key,
                "text": line.text(texts), "do": line.remedy(texts), "values": line.values,
            }
            for line in lines
        ],
    }  # fmt: skip
