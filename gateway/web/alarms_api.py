"""Alarms and their journal in the API, and what people may do about them."""

import asyncio
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.web.alarms import Entry
from gateway.web.asks import AskJournal, AskSite, Note, Shelve, may_see
from gateway.web.hub import Hub
from gateway.web.people import User
from gateway.web.states import alarm_state, sentences


async def alarms(hub: Hub, user: User, asked: AskSite, _: Request) -> Response:
    """Alarms that are not normal, those that need somebody first, and how many began in the last ten minutes."""
    may_see(user, asked.site)
    listed = [a for a in hub.alarm_list(user) if asked.site in (None, a["site"])]
    return JSONResponse({"alarms": listed, "rate_10min": hub.alarms.rate(hub.clock.now_ns())})


async def journal(hub: Hub, user: User, asked: AskJournal, _: Request) -> Response:
    """What alarms did and what people did about them, the latest first."""
    may_see(user, asked.site)
    await hub.write()
    entries = await asyncio.to_thread(hub.journal.entries, asked.site, asked.device, asked.most, user.sites)
    return JSONResponse({"entries": [entry_state(e) for e in reversed(entries)]})


def entry_state(entry: Entry) -> dict[str, Any]:
    site, device, code, point = entry.key
    said = sentences(entry.key, entry.event) if entry.event or code in ("stale", "gateway_offline") else None
    return {
        "number": entry.number, "t_ms": entry.t_ns // 1_000_000, "uncertain_ms": entry.uncertain_ns / 1e6,
        "site": site, "device": device, "code": code, "point": point, "action": entry.action, "who": entry.who,
        "comment": entry.comment, "text": said,
        "until_ms": entry.until_ns // 1_000_000 if entry.until_ns else None,
    }  # fmt: skip


async def note(hub: Hub, user: User, asked: Note, _: Request) -> Response:
    """Take note of an alarm of bollard. It acknowledges nothing in a SCADA."""
    return await _act(hub, user, asked, hub.alarms.note(hub.clock.now_ns(), asked.key, user.name, asked.comment))


async def shelve(hub: Hub, user: User, asked: Shelve, _: Request) -> Response:
    """Put an alarm aside for a time, with a reason."""
    span_s = 60.0 * asked.minutes
    entry = hub.alarms.shelve(hub.clock.now_ns(), asked.key, user.name, asked.comment, span_s)
    return await _act(hub, user, asked, entry)


async def unshelve(hub: Hub, user: User, asked: Note, _: Request) -> Response:
    """Take it back from the shelf."""
    entry = hub.alarms.unshelve(hub.clock.now_ns(), asked.key, user.name, asked.comment)
    return await _act(hub, user, asked, entry)


async def _act(hub: Hub, user: User, asked: Note, entry: Entry) -> Response:
    await hub.act(entry)
    await asyncio.to_thread(hub.people_audit, user.name, f"alarm_{entry.action}", "/".join(asked.key))
    return JSONResponse(alarm_state(hub.alarms.alarms[asked.key]))
