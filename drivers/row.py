"""What a scan returns: one device, one scan class, one instant."""

from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

HISTORY = "history"  # scan class of rows that a server kept and gave us later: they are older than live ones


class Quality(IntEnum):
    """How far a value can be trusted, and why. One hex digit on the wire.

    0 is good, 1-3 uncertain, 4-5 stale, 8-13 bad, 15 not scanned. Only a good or uncertain value is a
    number; all others are NaN. `edge/wire.py` repeats the names for the shore side (a test keeps them equal).
    """

    GOOD = 0x0
    UNCERTAIN = 0x1  # the device itself says so (OPC UA Uncertain)
    UNPROVEN = 0x2  # read, but plausibility has not passed yet
    STALE = 0x4  # the sender's heartbeat stands still
    ABSENT = 0x5  # a visitor that is not moored: neither fault nor downtime
    UNKNOWN = 0x8  # the device sends its sentinel for "unknown", or NaN
    OUT_OF_RANGE = 0x9  # outside the profile's range
    REFUSED = 0xA  # exception reply, bad node
    NO_ANSWER = 0xB  # deadline passed, connection lost
    TOO_LARGE = 0xC  # an integer beyond 2^53
    NONSENSE = 0xD  # the answer had another length, function or encoding than was asked for
    NOT_SCANNED = 0xF  # belongs to another scan class


@dataclass(slots=True)
class Row:
    """All points of a profile at one instant, in the order of the profile.

    Attributes:
        t_ns: When the last answer of the scan arrived. [ns, UTC]
        values: NaN where unknown; integers are exact up to 2^53; text points are NaN. float64[n]
        quality: A `Quality` per point. uint8[n]
        text: Index of the point -> what a text point says.
        scan: The scan class that was read.
    """

    t_ns: int
    values: NDArray[np.float64]
    quality: NDArray[np.uint8]
    text: dict[int, str] = field(default_factory=dict)
    scan: str = "live"


def empty_row(points: int, t_ns: int, quality: Quality, scan: str = "live") -> Row:
    """A row in which nothing is known, for one stated reason."""
    return Row(t_ns, np.full(points, np.nan), np.full(points, int(quality), np.uint8), {}, scan)
