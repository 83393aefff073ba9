"""`bollard edge plan`: from a site file to the report on its plans, and that report as tables or JSON."""

import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from drivers.cost import ROUND_TRIP_S
from drivers.learned import LearnedFile
from drivers.plan_report import Asked, DeviceReport, Request, SiteReport
from edge.config import DeviceConfig, LoadedSite
from edge.modbus_settings import modbus_address
from edge.texts import Texts

DEFAULT_INTERVAL_S = 10.0  # of every scan class but live, as edge/poll.py has it
WIDTH = 100
STYLES = {"fine": "green", "tight": "yellow", "too_much": "bold red"}


def asked_of(loaded: LoadedSite, learned: LearnedFile) -> list[Asked]:
    """The devices of a site as the report takes them."""
    return [_asked(loaded, device, learned) for device in loaded.site.device]


def _asked(loaded: LoadedSite, device: DeviceConfig, learned: LearnedFile) -> Asked:
    profile = loaded.profiles[device.name]
    intervals_s = {
        scan: device.interval_s if scan == "live" else device.scan.get(scan, DEFAULT_INTERVAL_S)
        for scan in profile.scans
    }
    if profile.protocol == "opcua":
        url = device.url or ""
        return Asked(device.name, profile, url, url, None, intervals_s)
    line = modbus_address(device, loaded.path.parent)
    return Asked(
        device.name, profile, line.endpoint, line.bus_endpoint, line, intervals_s,
        learned.of(device.name, profile), line.max_requests_per_s,
    )  # fmt: skip


def as_json(report: SiteReport) -> str:
    """The whole report, with names of points, for a program."""

    def whole(value: Any) -> Any:
        if isinstance(value, tuple | list):
            return [whole(item) for item in value]
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            made = {field.name: whole(getattr(value, field.name)) for field in dataclasses.fields(value)}
            for name in ("bus_s", "load", "requests_per_s"):
                if hasattr(value, name):
                    made[name] = getattr(value, name)
            return made
        return value

    return json.dumps(whole(report), indent=2, ensure_ascii=False)


def as_tables(report: SiteReport, texts: Texts, names: bool, turnaround_s: float) -> RenderableType:
    """The report for a terminal of 100 columns. `names`: the points of each request by name."""
    parts: list[RenderableType] = [_requests(devices, texts, names) for devices in _alike(report)]
    parts.append(_buses(report, texts))
    for bus in report.buses:
        if bus.slower:
            parts.append(Text(texts("plan.over", bus=bus.bus), style=STYLES["too_much"]))
            for slower in bus.slower:
                key = "interval_s" if slower.scan == "live" else f"scan.{slower.scan}"
                values = dataclasses.asdict(slower) | {"key": f"{key} = {slower.to_s:g}"}
                parts.append(Text(texts("plan.slower", **values)))
    parts += [
        Text(texts("plan.set_aside", device=device.name, points=", ".join(device.set_aside)))
        for device in report.devices
        if device.set_aside
    ]
    assumed = {"round_trip_ms": 1e3 * ROUND_TRIP_S, "turnaround_ms": 1e3 * turnaround_s}
    return Group(*parts, Text(texts("plan.assumed", **assumed), style="dim"))


def _requests(devices: Sequence[DeviceReport], texts: Texts, names: bool) -> Table:
    """The requests of devices whose plans are the same."""
    title = f"{', '.join(device.name for device in devices)} · {devices[0].model}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", width=WIDTH)
    table.add_column(texts("plan.scan"), overflow="fold", ratio=2)
    table.add_column(texts("plan.request"), overflow="fold", ratio=3)
    table.add_column(texts("plan.registers"), justify="right", no_wrap=True)
    table.add_column(texts("plan.bridged"), justify="right", no_wrap=True)
    table.add_column(texts("plan.points"), justify="left" if names else "right", ratio=4 if names else None)
    table.add_column(texts("plan.bus_ms"), justify="right", no_wrap=True)
    for scan in devices[0].scans:
        every = texts("plan.every", scan=scan.scan, interval_s=scan.interval_s)
        for request in scan.requests:
            registers = "" if request.first is None else str(request.registers)
            points = ", ".join(request.points) if names else str(len(request.points))
            spent = _number(texts, 1e3 * request.bus_s)
            table.add_row(every, _span(request, texts), registers, str(request.bridged or ""), points, spent)
            every = ""
        if len(scan.requests) != 1:
            total = texts("plan.scan_sum", requests=len(scan.requests))
            table.add_row(every, total, "", "", "", _number(texts, 1e3 * scan.bus_s), style="dim")
    return table


def _span(request: Request, texts: Texts) -> str:
    if request.first is None:
        return texts("plan.nodes", count=request.registers)
    return f"{request.table} {request.first}-{request.last}"


def _alike(report: SiteReport) -> Iterator[list[DeviceReport]]:
    """Devices whose plans are the same, together."""
    groups: dict[tuple[object, ...], list[DeviceReport]] = {}
    for device in report.devices:
        groups.setdefault((device.model, device.scans), []).append(device)
    yield from groups.values()


def _buses(report: SiteReport, texts: Texts) -> Table:
    table = Table(title=texts("plan.buses"), box=box.SIMPLE_HEAD, title_justify="left", width=WIDTH)
    table.add_column(texts("plan.bus"), overflow="fold", ratio=3)
    table.add_column(texts("plan.devices"), overflow="fold", ratio=3)
    for key in ("per_s", "load", "state"):
        table.add_column(texts(f"plan.{key}"), justify="right", no_wrap=True)
    for bus in report.buses:
        per_s = (
            texts("plan.of_agreed", per_s=bus.requests_per_s, agreed=bus.max_requests_per_s)
            if bus.max_requests_per_s
            else _number(texts, bus.requests_per_s)
        )
        load = f"{_number(texts, 100.0 * bus.load)} %"
        state = Text(texts(f"plan.{bus.state}"), style=STYLES[bus.state])
        table.add_row(bus.bus, ", ".join(bus.devices), per_s, load, state)
    return table


def _number(texts: Texts, value: float) -> str:
    return f"{value:.1f}".replace(".", texts("decimal"))
