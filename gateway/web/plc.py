"""What PLCs say of themselves: alarm and interlock words as a journal, bit by bit, read from the stored rows.

They are the PLC's and the SCADA's to acknowledge; here they stand beside bollard's own. A bit changed at most one
poll before the row that shows it; of bits that changed within one poll nobody knows which was first.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.live import NS, Device
from gateway.store import Store
from gateway.store.base import UNKNOWN
from gateway.web.asks import AskRows, Problem, may_see, span_of
from gateway.web.hub import Hub
from gateway.web.people import User

DAY_NS = 86_400 * NS
LONGEST_NS = 31 * DAY_NS


async def plc_journal(hub: Hub, user: User, asked: AskRows, _: Request) -> Response:
    """Bits of alarm and interlock words that came or went, the latest first; a day if no start is given.

    `uncertain_ms`: it happened at most so long before. `order_known`: false where another bit of the device
    changed within the same poll.
    """
    may_see(user, asked.site)
    start_ns, stop_ns = span_of(asked, hub.clock.now_ns())
    if asked.start_ms is None:
        start_ns = max(start_ns, stop_ns - DAY_NS)
    if stop_ns - start_ns > LONGEST_NS:
        raise Problem(400, "a span of over 31 days of raw rows; ask for a shorter one")
    wanted = [
        d
        for (site, name), d in hub.live.devices.items()
        if site == asked.site and asked.device in (None, name) and words_of(d)
    ]
    found: list[dict[str, Any]] = []
    for d in wanted:  # no more is ever held than is shown: a bit may chatter for a month
        found += await asyncio.to_thread(changes, hub.store, d, start_ns, stop_ns, asked.most)
        found.sort(key=lambda row: -row["t_ms"])
        del found[asked.most :]
    return JSONResponse({"rows": found, "words": sum(len(words_of(d)) for d in wanted)})


def words_of(device: Device) -> list[Mapping[str, Any]]:
    """Points that hold a bit for each thing that a PLC has to say."""
    return [p for p in device.points if str(p["name"]).endswith("_word") and p["type"] == "int"]


def changes(store: Store, device: Device, start_ns: int, stop_ns: int, most: int) -> list[dict[str, Any]]:
    """The newest bits that changed between rows, newest first. Raises: StoreUnavailable, StoreError."""
    words = words_of(device)
    names = [str(word["name"]) for word in words]
    rows = store.columns(device.kind, device.name, names, start_ns, stop_ns, device.site)
    period_ns = int(float(device.declared["interval_s"]) * NS)
    said: list[tuple[tuple[int, int, bool], Mapping[str, Any]]] = []
    for word in words:
        values = rows.whole(str(word["name"]))
        known = values != UNKNOWN
        # one more than is shown: whether another bit changed just before the last one shown
        said += [(change, word) for change in bit_changes(rows.t_ns[known], values[known], most + 1)]
    said.sort(key=lambda one: -one[0][0])
    instants = np.sort(np.array([t_ns for (t_ns, _, _), _ in said], np.int64))
    return [
        {
            "device": device.name, "word": word["name"], "bit": bit, "on": on,
            "text": (word.get("codes") or {}).get(str(1 << bit), ""),
            "site": device.site, "t_ms": t_ns // 1_000_000, "uncertain_ms": period_ns / 1e6,
            "order_known": _alone(t_ns, instants, period_ns),
        }
        for (t_ns, bit, on), word in said[:most]
    ]  # fmt: skip


def bit_changes(t_ns: Any, words: Any, most: int) -> list[tuple[int, int, bool]]:
    """Instant, bit and whether it came, of the `most` newest rows that changed.

    A word's first row tells of nothing, since nobody saw what was before.
    """
    changed = (np.flatnonzero(np.diff(words)) + 1)[-most:]
    found = []
    for i in changed.tolist():
        before, after = int(words[i - 1]), int(words[i])
        moved = (before ^ after) & 0xFFFF_FFFF_FFFF_FFFF
        found += [
            (int(t_ns[i]), bit, bool(after >> bit & 1)) for bit in range(moved.bit_length()) if moved >> bit & 1
        ]
    return found


def _alone(t_ns: int, instants: NDArray[np.int64], period_ns: int) -> bool:
    low = int(np.searchsorted(instants, t_ns - period_ns, "right"))
    return int(np.searchsorted(instants, t_ns + period_ns, "left")) - low == 1
