"""All gateways, the worst first, by what the broker keeps of their status and catalogue."""

import asyncio
import json
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from edge.mqtt import Access, Connection
from edge.wire import VERSION, Catalogue, WireError, decode_catalogue, parse_topic
from gateway.errors import Unreachable

NS = 1_000_000_000
SILENT_S = 120.0  # an agent renews its status each 10 s
BEHIND_S, LONG_BEHIND_S = 120.0, 3600.0
WAITING_ROWS = 10_000
DISK_BYTES = 512 * 2**20
SOON_DAYS = 30  # before a certificate ends
MOST = 2.0**63  # of a number that an agent sends; NaN is not below it
QUIET_S = 1.0  # without another retained message, all have come
WEIGHTS = {  # how bad; several add up
    "silent": 50, "offline": 40, "dropped": 30, "clock_unknown": 30, "certificate_ended": 30,
    "disk_short": 20, "long_behind": 20, "certificate_ends": 10, "clock_untrusted": 10, "behind": 5,
    "waiting": 5, "refused": 5, "other_version": 1, "not_signed": 1,
}  # fmt: skip


@dataclass
class Gateway:
    """One gateway. `status` and `catalogue` are None where the broker keeps none of it."""

    site: str
    name: str
    status: Mapping[str, Any] | None = None
    catalogue: Catalogue | None = None
    troubles: list[str] = field(default_factory=list)

    @property
    def weight(self) -> int:
        return sum(WEIGHTS[trouble] for trouble in self.troubles)

    def number(self, key: str) -> float | None:
        """A number of the status; what anyone may have sent is no number."""
        value = (self.status or {}).get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < MOST:
            return None
        return float(value)

    @property
    def online(self) -> bool:
        return self.status is not None and self.status.get("state") == "online"

    def silent(self, now_ns: int) -> bool:
        """Nothing is kept of it, or it is online by a status that it has not renewed for long.

        A broker that was restarted keeps the last word of an agent it has lost. One that does not know the time
        cannot tell how old its word is.
        """
        if self.status is None:
            return True
        if not self.online or self.status.get("clock_known") is False:
            return False
        told_ns = self.number("now_ns")
        return told_ns is None or now_ns - told_ns > SILENT_S * NS

    def behind_s(self, now_ns: int) -> float | None:
        """How long ago what is confirmed ends; None where nothing is. [s]"""
        until_ns = self.number("confirmed_until_ns")
        return max(0.0, (now_ns - until_ns) / NS) if until_ns else None

    def certificate_days(self, now: datetime) -> int | None:
        """Whole days until the first certificate ends; None where there are none, or it is not told."""
        told = (self.status or {}).get("certificates")
        days = []
        for ends in told.values() if isinstance(told, dict) else ():
            try:
                at = datetime.fromisoformat(str(ends))
                days.append((at if at.tzinfo else at.replace(tzinfo=UTC)) - now)
            except ValueError:
                continue
        return min(days).days if days else None

    def unsigned(self) -> list[str]:
        """Meters whose energy is provisional, by the catalogue."""
        return [
            str(device.get("name")) for device in (self.catalogue.devices if self.catalogue else ())
            if isinstance(device, dict) and device.get("kind") == "meter" and "commissioned" in device
            and _state(device["commissioned"]) != "signed"
        ]  # fmt: skip


def judge(gateways: Iterable[Gateway], now_ns: int) -> list[Gateway]:
    """Say what is wrong with each, and put the worst first."""
    found = list(gateways)
    now = datetime.fromtimestamp(now_ns / NS, UTC)
    versions = [str(g.status["version"]) for g in found if g.status and "version" in g.status]
    newest = max(versions, key=_version_key, default="")
    for gateway in found:
        gateway.troubles = list(_troubles(gateway, now_ns, now, newest))
    return sorted(found, key=lambda g: (-g.weight, -(g.behind_s(now_ns) or 0.0), g.site, g.name))


def _troubles(g: Gateway, now_ns: int, now: datetime, newest: str) -> Iterable[str]:
    if g.silent(now_ns):
        yield "silent"
    if g.status is None:
        return
    if not g.online:
        yield "offline"
    if g.number("dropped"):
        yield "dropped"
    if g.number("refused"):
        yield "refused"
    if g.online and g.status.get("clock_known") is False:
        yield "clock_unknown"
    elif g.online and g.status.get("clock_trusted") is False:
        yield "clock_untrusted"
    days = g.certificate_days(now)
    if days is not None and days < SOON_DAYS:
        yield "certificate_ended" if days < 0 else "certificate_ends"
    free = g.number("disk_free_bytes")
    if free is not None and free < DISK_BYTES:
        yield "disk_short"
    behind_s, waiting = g.behind_s(now_ns), g.number("waiting") or 0
    if behind_s is not None and waiting and behind_s > BEHIND_S:
        yield "long_behind" if behind_s > LONG_BEHIND_S else "behind"
    if waiting > WAITING_ROWS:
        yield "waiting"
    if newest and str(g.status.get("version")) != newest:
        yield "other_version"
    if g.unsigned():
        yield "not_signed"


def _state(commissioned: object) -> object:
    return commissioned.get("state") if isinstance(commissioned, dict) else None


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version[:64].split("+")[0].split(".") if part.isdecimal())


async def listen(access: Access, sites: Iterable[str], wait_s: float) -> dict[tuple[str, str], Gateway]:
    """What the broker keeps of all gateways (of these sites; none means all).

    Args:
        wait_s: For the broker, and at most for all that it keeps. [s]

    Raises: Unreachable, where no broker lets us in.
    """
    found: dict[tuple[str, str], Gateway] = {}
    heard_s = time.monotonic()
    subscribed = asyncio.Event()

    def hear(topic: str, payload: bytes) -> None:
        nonlocal heard_s
        try:
            site, name, leaf = parse_topic(topic)
        except WireError:
            return
        gateway = found.setdefault((site, name), Gateway(site, name))
        heard_s = time.monotonic()
        if leaf == "status":
            gateway.status = _object(payload) or gateway.status
        elif leaf == "catalogue":
            try:
                gateway.catalogue = decode_catalogue(payload)
            except WireError:
                return

    filters = [f"bollard/{VERSION}/{s}/+/{leaf}" for s in list(sites) or ["+"] for leaf in ("status", "catalogue")]
    connection = Connection(
        access, f"bollard-fleet-{time.time_ns():x}", lambda: connection.subscribe(filters), hear,
        on_subscribed=subscribed.set,
    )  # fmt: skip
    connection.start()
    end_s = time.monotonic() + wait_s
    try:
        while not subscribed.is_set():
            if time.monotonic() > end_s:
                brokers = ", ".join(f"{host}:{port}" for host, port in access.brokers)
                why = connection.why or "no answer"
                raise Unreachable(
                    f"broker {brokers}: {why}; check [broker] of the shore file, and its access rules"
                )
            await asyncio.sleep(0.02)
        heard_s = time.monotonic()
        while time.monotonic() < min(end_s, heard_s + QUIET_S):  # noqa: ASYNC110 - silence has no event
            await asyncio.sleep(0.02)
    finally:
        await connection.stop()
    return found


def _finite(text: str) -> float | None:
    """JSON knows no NaN and no infinity: what --json prints another program has to read."""
    value = float(text)
    return value if math.isfinite(value) else None


def _object(payload: bytes) -> dict[str, Any] | None:
    try:
        told = json.loads(payload, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def as_data(gateways: Iterable[Gateway], now_ns: int) -> list[dict[str, Any]]:
    """What `--json` prints: the worst first, as they come."""
    now = datetime.fromtimestamp(now_ns / NS, UTC)
    return [
        {
            "site": g.site, "gateway": g.name, "troubles": g.troubles, "weight": g.weight,
            "behind_s": g.behind_s(now_ns), "certificate_days": g.certificate_days(now), "unsigned": g.unsigned(),
            "devices": len(g.catalogue.devices) if g.catalogue else None, "status": g.status,
        }
        for g in gateways
    ]  # fmt: skip
