"""How far a lock was teleoperated this month so far: the same reckoning as the monthly report's."""

from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.report.month import Month
from gateway.texts import local
from gateway.web.asks import AskLock, Problem, may_see
from gateway.web.hub import Hub
from gateway.web.people import User

if TYPE_CHECKING:
    from gateway.report.lock_time import Count, Share

MODES = {"remote": "REMOTE", "local": "LOCAL", "maintenance": "MAINTENANCE"}


async def lock_month(hub: Hub, user: User, asked: AskLock, _: Request) -> Response:
    """Shares of the scheduled time and counts since the month began. Provisional: the report has the last word."""
    may_see(user, asked.site)
    device = hub.live.devices.get((asked.site, asked.device))
    if device is None or device.kind != "lock":
        raise Problem(404, f"no lock {asked.device!r} at {asked.site!r}")
    zone, now_ns = hub.live.zones.get(asked.site, "Europe/Paris"), hub.clock.now_ns()
    at = local(now_ns, ZoneInfo(zone))
    month = Month(at.year, at.month, zone)
    key = (asked.site, asked.device, str(month))
    return JSONResponse(await hub.months.get(key, partial(reckoned, hub, asked.site, asked.device, month, now_ns)))


def reckoned(hub: Hub, site: str, lock: str, month: Month, now_ns: int) -> dict[str, Any]:
    """Reads the month's raw rows so far. Raises: StoreUnavailable, StoreError."""
    # These load the compiler, some 65 MB: a page that shows no lock does without.
    from gateway.report.lock_hours import schedule_of
    from gateway.report.lock_signals import LockPoints
    from gateway.report.lock_time import STATES, read_time
    from gateway.report.lockages import Lockages
    from gateway.report.period import Period

    points = LockPoints.of(hub.book.catalogues(site), lock)
    states = replace(points, names=points.names & set(STATES), bands=())  # levels and pumps are the report's
    schedule = schedule_of(hub.book.journal(site), lock, Period(month, "month"))
    time = read_time(hub.store, site, states, schedule, month.start_ns, now_ns)
    lockages = Lockages.read(hub.store, site, lock, month.start_ns, now_ns)
    answers_s = [t / 1e9 for t in time.responses_ns]
    return {
        "month": str(month), "until_ms": now_ns // 1_000_000, "lockages": int(sum(lockages.by_way.values())),
        "teleoperable": _share(time.teleoperable), "available": _share(time.available),
        "linked": _share(time.linked),
        "modes": {name: _share(time.in_mode(code)) for name, code in MODES.items()},
        "takeovers": _count(time.takeovers), "requests": _count(time.requests), "estops": _count(time.estops),
        "response_mean_s": sum(answers_s) / len(answers_s) if answers_s else None,
    }  # fmt: skip


def _share(share: "Share | None") -> dict[str, float | None] | None:
    """The part of the time that is known, and how much of the time so far that is."""
    return None if share is None else {"value": _number(share.value), "coverage": _number(share.coverage)}


def _count(count: "Count") -> int | None:
    return count.value


def _number(value: Fraction | None) -> float | None:
    return None if value is None else float(value)
