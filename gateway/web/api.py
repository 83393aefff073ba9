"""The page's data as JSON, for the page and for other systems: what may be asked, and who may.

Each endpoint is one line of `ENDPOINTS`: the OpenAPI document is made from it, and so are the checks of what comes
in. Read only toward equipment: the only things that can be changed are people's own words on bollard's alarms.
"""

import asyncio
import csv
import io
import math
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse

from edge.wire import COMPUTED, RowLine, encode_row
from gateway.errors import StoreError, StoreUnavailable
from gateway.journal import CallEntry, in_force
from gateway.live import NS
from gateway.web.alarms import NotPossible
from gateway.web.alarms_api import alarms, journal, note, shelve, unshelve
from gateway.web.asks import (
    LONGEST_NS,
    Asked,
    AskHistory,
    AskJournal,
    AskLock,
    AskRows,
    AskSite,
    Note,
    Nothing,
    Problem,
    Shelve,
    may_see,
    span_of,
)
from gateway.web.history import MINUTES_FROM_NS, curves
from gateway.web.hub import Hub
from gateway.web.lock_month import lock_month
from gateway.web.people import Role, User
from gateway.web.plc import plc_journal
from gateway.web.states import sentences
from gateway.web.subscribed import subscribed

REPORT = re.compile(r"[A-Za-z0-9._+-]{1,120}\.(pdf|xlsx|csv|json|html|md)")
OF_SITE = re.compile(r"report-([a-z0-9_-]+)-\d{4}-\d{2}\.[a-z.]+")  # a month's report of one site
Handler = Callable[[Hub, User, Any, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """One line of the API. `role`: the least that may ask."""

    method: str
    path: str
    summary: str
    asks: type[Asked]
    handler: Handler
    role: Role = "viewer"


async def sites(hub: Hub, user: User, asked: Nothing, _: Request) -> Response:
    """What is declared: sites with gateways, devices, points, locks and berths, and the groups of the shore file.

    Sites come in the order of their groups, the others after them by name; devices as the site file has them.
    """
    found: dict[str, dict[str, Any]] = {}
    for (site, name), device in hub.live.devices.items():
        if not user.sees(site):
            continue
        place = found.setdefault(
            site, {"name": site, "timezone": hub.live.zones.get(site, "Europe/Paris"), "devices": [],
                   "berths": hub.live.berths.get(site, [])},
        )  # fmt: skip
        place["devices"].append(
            {
                "name": name, "gateway": device.gateway, "kind": device.kind,
                "model": device.declared.get("model", ""),
                "interval_s": device.declared["interval_s"], "points": device.points,
                "rules": device.declared.get("rules"), "lock": device.settings.get("lock"),
                "meter": device.settings.get("meter"), "origin": device.declared.get("origin"),
            }
        )  # fmt: skip
    groups = [{"name": g.name, "sites": [s for s in g.sites if s in found]} for g in hub.groups]
    order = list(dict.fromkeys([s for g in groups for s in g["sites"]] + sorted(found)))
    shown = [g for g in groups if g["sites"]]
    return JSONResponse({"sites": [found[name] for name in order], "groups": shown})


async def latest(hub: Hub, user: User, asked: AskSite, _: Request) -> Response:
    """What is known now of every device, gateway and alarm."""
    may_see(user, asked.site)
    return JSONResponse(hub.everything(User(user.name, user.role, (asked.site,)) if asked.site else user))


async def stream(hub: Hub, user: User, asked: Nothing, request: Request) -> Response:
    """Server-sent events: first everything as `latest` has it, then what changes; ends with the session."""
    events: AsyncIterator[str] = hub.stream(user, request.state.still)
    return StreamingResponse(events, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def history(hub: Hub, user: User, asked: AskHistory, request: Request) -> Response:
    """Curves, thinned so that no peak is lost; as CSV every row, unthinned. A silence stands as null between."""
    may_see(user, asked.site)
    start_ns, stop_ns = asked.start_ms * 1_000_000, asked.stop_ms * 1_000_000
    if not start_ns < stop_ns:
        raise Problem(400, f"start_ms {asked.start_ms} is not before stop_ms {asked.stop_ms}")
    if stop_ns - start_ns > LONGEST_NS:
        raise Problem(400, "a span of over 20 years; ask for a shorter one")
    device = hub.live.devices.get((asked.site, asked.device))
    kind = asked.kind or (device.kind if device else None)
    if kind is None:
        raise Problem(404, f"no device {asked.device!r} at {asked.site!r}; give kind for one that has gone")
    fields = asked.fields.split(",")
    if asked.format == "csv":
        await asyncio.to_thread(hub.people_audit, user.name, "exported", str(request.url.query)[:300])
        text = await asyncio.to_thread(_csv, hub, asked, kind, fields, start_ns, stop_ns)
        name = f"{asked.site}-{asked.device}-{kind}.csv"
        return PlainTextResponse(
            text, media_type="text/csv", headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )
    gap_ns = int(3 * float(device.declared["interval_s"]) * NS) if device else 10 * NS
    from_minutes = kind == "meter" and fields == ["power_w"] and stop_ns - start_ns > MINUTES_FROM_NS
    work = partial(
        curves, hub.store, asked.site, "energy_1m" if from_minutes else kind, asked.device,
        ["max_power_w"] if from_minutes else fields, start_ns, stop_ns, asked.pixels,
        max(gap_ns, 180 * NS if from_minutes or kind in COMPUTED else gap_ns),
    )  # fmt: skip
    made = await asyncio.to_thread(work)
    return JSONResponse(
        {
            "kind": kind,
            "curves": [
                {
                    "field": curve.name,
                    "t_ms": (curve.t_ns // 1_000_000).tolist(),
                    "values": [None if math.isnan(v) else v for v in curve.values.tolist()],
                }
                for curve in made
            ],
        }
    )


def _csv(hub: Hub, asked: AskHistory, kind: str, fields: list[str], start_ns: int, stop_ns: int) -> str:
    found = hub.store.columns(kind, asked.device, fields, start_ns, stop_ns, asked.site)
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["time_utc", *fields])
    columns = [found.text[n] if found.text[n].any() else found[n] for n in fields]
    for i, t_ns in enumerate(found.t_ns.tolist()):
        at = datetime.fromtimestamp(t_ns // NS, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{t_ns % NS:09d}Z"
        writer.writerow([at, *(_cell(column[i]) for column in columns)])
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value) if isinstance(value, str) else f"{float(value):.15g}"


async def calls(hub: Hub, user: User, asked: AskRows, _: Request) -> Response:
    """Ships at berths as people wrote them into the journal, with arrival and departure, the latest first."""
    may_see(user, asked.site)
    start_ns, stop_ns = span_of(asked, hub.clock.now_ns())
    entries = await asyncio.to_thread(hub.book.journal, asked.site)
    bodies = [body for entry in in_force(entries) if isinstance(body := entry.body, CallEntry)]
    bodies = [b for b in bodies if _ns_of(b.departure) >= start_ns and _ns_of(b.arrival) < stop_ns]
    said = [
        {"berth": b.berth, "imo": b.imo, "vessel": b.vessel, "arrival_ms": _ns_of(b.arrival) // 1_000_000,
         "departure_ms": _ns_of(b.departure) // 1_000_000}
        for b in sorted(bodies, key=lambda b: b.arrival, reverse=True)
    ]  # fmt: skip
    return JSONResponse({"rows": said[: asked.most]})


def _ns_of(at: datetime) -> int:
    return round(at.timestamp()) * NS


async def rows_of(kind: str, hub: Hub, user: User, asked: AskRows, _: Request) -> Response:
    """Rows of a computed kind, the latest first."""
    may_see(user, asked.site)
    start_ns, stop_ns = span_of(asked, hub.clock.now_ns())
    fields = list(COMPUTED[kind])
    found = await asyncio.to_thread(hub.store.columns, kind, asked.device, fields, start_ns, stop_ns, asked.site)
    newest = range(len(found) - 1, max(-1, len(found) - 1 - asked.most), -1)
    return JSONResponse({"rows": [_row(kind, found, i) for i in newest]})


def _row(kind: str, found: Any, i: int) -> dict[str, Any]:
    said: dict[str, Any] = {tag: column[i] for tag, column in found.tags.items() if column[i]}
    said["t_ms"] = int(found.t_ns[i]) // 1_000_000
    for name, form in COMPUTED[kind].items():
        value = found.text[name][i] if form == "str" else float(found[name][i])
        known = value is not None and not (isinstance(value, float) and np.isnan(value))
        if known:
            whole = form == "int" and isinstance(value, float)
            said[name.replace("_ns", "_ms")] = _shown(name, int(value) if whole else value)
    return said


def _shown(name: str, value: Any) -> Any:
    return value // 1_000_000 if name.endswith("_ns") else value


async def events(hub: Hub, user: User, asked: AskRows, _: Request) -> Response:
    """Events with their sentences in French and English, the latest first."""
    may_see(user, asked.site)
    start_ns, stop_ns = span_of(asked, hub.clock.now_ns())
    found = await asyncio.to_thread(hub.events, asked.site, asked.device, start_ns, stop_ns)
    return JSONResponse({"rows": [_event(row) for row in reversed(found[-asked.most :])]})


def _event(row: RowLine) -> dict[str, Any]:
    key = (
        row.tags.get("site", ""),
        row.tags.get("device", ""),
        row.tags.get("code", ""),
        row.tags.get("point", ""),
    )
    line = encode_row("event", row.tags, row.fields, row.t_ns)
    return {**row.tags, "t_ms": row.t_ns // 1_000_000, "fields": row.fields, "text": sentences(key, line)}


async def reports(hub: Hub, user: User, asked: Nothing, _: Request) -> Response:
    """Reports that have been made, the newest first."""
    found = await asyncio.to_thread(_reports, hub)
    return JSONResponse({"reports": [report for report in found if _sees_report(user, report["name"])]})


def _sees_report(user: User, name: str) -> bool:
    """Roll-ups have a group's name or several sites': they are for those alone who see all sites."""
    of_site = OF_SITE.fullmatch(name)
    return not user.sites or (of_site is not None and user.sees(of_site[1]))


def _reports(hub: Hub) -> list[dict[str, Any]]:
    folder = hub.reports
    if not folder.is_dir():
        return []
    files = [f for f in folder.iterdir() if REPORT.fullmatch(f.name) and f.is_file()]
    made = [(f.stat(), f.name) for f in files]
    return [
        {"name": name, "bytes": stat.st_size, "made_ms": stat.st_mtime_ns // 1_000_000}
        for stat, name in sorted(made, key=lambda x: (-x[0].st_mtime_ns, x[1]))
    ]


async def report_file(hub: Hub, user: User, asked: Nothing, request: Request) -> Response:
    """One report as a file."""
    name = request.path_params["name"]
    path = hub.reports / name
    if not REPORT.fullmatch(name) or not _sees_report(user, name) or not path.is_file():
        raise Problem(404, "no such report; see /api/1/reports")
    await asyncio.to_thread(hub.people_audit, user.name, "report_read", name)
    return FileResponse(path, filename=name)


async def me(hub: Hub, user: User, asked: Nothing, _: Request) -> Response:
    """Who asks, and what they may do."""
    return JSONResponse({"name": user.name, "role": user.role, "sites": list(user.sites)})


async def audit(hub: Hub, user: User, asked: Nothing, _: Request) -> Response:
    """Who did what on this page, the latest first."""
    found = await asyncio.to_thread(hub.people_audited)
    said = [
        {"t_ms": t // 1_000_000, "who": who, "action": what, "detail": detail} for t, who, what, detail in found
    ]
    return JSONResponse({"entries": said})


BASE = "/api/1"
ENDPOINTS = (
    Endpoint("GET", f"{BASE}/me", "Who asks", Nothing, me),
    Endpoint("GET", f"{BASE}/sites", "What is declared", Nothing, sites),
    Endpoint("GET", f"{BASE}/latest", "What is known now", AskSite, latest),
    Endpoint("GET", f"{BASE}/stream", "What is known now, and what changes", Nothing, stream),
    Endpoint("GET", f"{BASE}/history", "Curves of a device", AskHistory, history),
    Endpoint("GET", f"{BASE}/alarms", "Alarms", AskSite, alarms),
    Endpoint("GET", f"{BASE}/alarms/journal", "Journal of alarms", AskJournal, journal),
    Endpoint("POST", f"{BASE}/alarms/note", "Take note of an alarm", Note, note, "supervisor"),
    Endpoint("POST", f"{BASE}/alarms/shelve", "Put an alarm aside", Shelve, shelve, "supervisor"),
    Endpoint("POST", f"{BASE}/alarms/unshelve", "Take an alarm back", Note, unshelve, "supervisor"),
    Endpoint("GET", f"{BASE}/sessions", "Calls at berths", AskRows, partial(rows_of, "session")),
    Endpoint("GET", f"{BASE}/calls", "Calls that people wrote down", AskRows, calls),
    Endpoint("GET", f"{BASE}/subscribed", "Subscribed power now", AskSite, subscribed),
    Endpoint("GET", f"{BASE}/minutes", "Energy by the minute", AskRows, partial(rows_of, "energy_1m")),
    Endpoint("GET", f"{BASE}/lockages", "Lockages", AskRows, partial(rows_of, "lock_cycle")),
    Endpoint("GET", f"{BASE}/lockages/month", "Teleoperation of a lock this month", AskLock, lock_month),
    Endpoint("GET", f"{BASE}/plc-alarms", "What PLCs say, bit by bit", AskRows, plc_journal),
    Endpoint("GET", f"{BASE}/trends", "How locks age", AskRows, partial(rows_of, "lock_trend")),
    Endpoint("GET", f"{BASE}/events", "Events", AskRows, events),
    Endpoint("GET", f"{BASE}/reports", "Reports", Nothing, reports),
    Endpoint("GET", f"{BASE}/reports/{{name}}", "A report's file", Nothing, report_file),
    Endpoint("GET", f"{BASE}/audit", "Who did what", Nothing, audit, "admin"),
)


async def answer(endpoint: Endpoint, hub: Hub, user: User | None, request: Request) -> Response:
    """Check who asks and what is asked, then answer. Every refusal is JSON with one sentence."""
    try:
        if user is None:
            raise Problem(401, "sign in, or send a token: Authorization: Bearer …")
        if not user.may(endpoint.role):
            raise Problem(403, f"this takes the role {endpoint.role}; yours is {user.role}")
        if endpoint.method == "GET":
            asked = endpoint.asks.model_validate(_once(request.query_params.multi_items()))
        else:
            asked = endpoint.asks.model_validate_json(await request.body())
        if isinstance(asked, Note):
            may_see(user, asked.site)
        return await endpoint.handler(hub, user, asked, request)
    except Problem as problem:
        return refusal(problem.status, str(problem))
    except NotPossible as problem:
        return JSONResponse({"error": problem.code, "code": problem.code, "values": problem.values}, 409)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return refusal(400, f"{'.'.join(map(str, first['loc'])) or 'request'}: {first['msg']}")
    except (StoreUnavailable, StoreError):
        return refusal(503, "the database does not answer; what is live goes on")


def _once(items: list[tuple[str, str]]) -> Mapping[str, str]:
    asked: dict[str, str] = {}
    for name, value in items:
        if name in asked:
            raise Problem(400, f"{name[:60]} is given twice")
        asked[name] = value
    return asked


def refusal(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": message.encode("utf-8", "backslashreplace").decode()}, status)
