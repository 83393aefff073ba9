"""What PLCs say of themselves: alarm and interlock words as a journal, bit by bit, read from the stored rows.

They are the PLC's and the SCADA's to acknowledge; here they stand beside bollard's own. A bit changed at most one
poll before the row that shows it; of bits that changed within one poll nobody knows which was first.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.live import NS, Device
from gateway.store import Store
from gateway.store.base import UNKNOWN
from gateway.web.asks import AskRows, may_see, span_of
from gateway.web.hub import Hub
from gateway.web.people import User

DAY_NS = 86_400 * NS


async def plc_journal(hub: Hub, user: User, asked: AskRows, _: Request) -> Response:
    """Bits of alarm and interlock words that came or went, the latest first; a day if no start is given.

    `uncertain_ms`: it happened at most so long before. `order_known`: false where another bit of the device
    changed within the same poll.
    """
    may_see(user, asked.site)
    start_ns, stop_ns = span_of(asked, hub.clock.now_ns())
    if asked.start_ms is None:
        start_ns = max(start_ns, stop_ns - DAY_NS)
    wanted = [
        d
        for (site, name), d in hub.live.devices.items()
        if site == asked.site and asked.device in (None, name) and words_of(d)
    ]
    found = [row for d in wanted for row in await asyncio.to_thread(changes, hub.store, d, start_ns, stop_ns)]
    found.sort(key=lambda row: -row["t_ms"])
    return JSONResponse({"rows": found[: asked.most], "words": sum(len(words_of(d)) for d in wanted)})


def words_of(device: Device) -> list[Mapping[str, Any]]:
    """Points that hold a bit for each thing that a PLC has to say."""
    return [p for p in device.points if str(p["name"]).endswith("_word") and p["type"] == "int"]


def changes(store: Store, device: Device, start_ns: int, stop_ns: int) -> list[dict[str, Any]]:
    """Every bit that changed from one row to the next. Raises: StoreUnavailable, StoreError."""
    words = words_of(device)
    names = [str(word["name"]) for word in words]
    rows = store.columns(device.kind, device.name, names, start_ns, stop_ns, device.site)
    period_ns = int(float(device.declared["interval_s"]) * NS)
    said = []
    for word in words:
        values = rows.whole(str(word["name"]))
        known = values != UNKNOWN
        for t_ns, bit, on in bit_changes(rows.t_ns[known], values[known]):
            text = (word.get("codes") or {}).get(str(1 << bit), "")
            said.append(
                {"t_ns": t_ns, "device": device.name, "word": word["name"], "bit": bit, "on": on, "text": text}
            )
    instants = sorted(row["t_ns"] for row in said)
    return [
        {k: v for k, v in row.items() if k != "t_ns"}
        | {
            "site": device.site, "t_ms": row["t_ns"] // 1_000_000, "uncertain_ms": period_ns / 1e6,
            "order_known": _alone(row["t_ns"], instants, period_ns),
        }
        for row in said
    ]  # fmt: skip


def bit_changes(t_ns: Any, words: Any) -> list[tuple[int, int, bool]]:
    """Instant, bit and whether it came; a word's first row tells of nothing, since nobody saw what was before."""
    changed = np.flatnonzero(np.diff(words)) + 1
    found = []
    for i in changed.tolist():
        before, after = int(words[i - 1]), int(words[i])
        moved = (before ^ after) & 0xFFFF_FFFF_FFFF_FFFF
        found += [
            (int(t_ns[i]), bit, bool(after >> bit & 1)) for bit in range(moved.bit_length()) if moved >> bit & 1
        ]
    return found


def _alone(t_ns: int, instants: Sequence[int], period_ns: int) -> bool:
    low = int(np.searchsorted(instants, t_ns - period_ns, "right"))
    return int(np.searchsorted(instants, t_ns + period_ns, "left")) - low == 1
