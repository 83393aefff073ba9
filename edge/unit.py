"""What every computation of the edge has in common: how it is fed, what it gives, how its state is kept."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drivers.row import Quality, Row
from edge import wire

NS = 1_000_000_000
NAN = float("nan")
NOT_SCANNED = int(Quality.NOT_SCANNED)  # an attribute of an Enum is slow to reach


@dataclass(frozen=True, slots=True)
class Output:
    """A computed row. `device` is whose tags it carries."""

    kind: str
    device: str | None
    fields: dict[str, wire.Value]
    t_ns: int
    tags: dict[str, str] = field(default_factory=dict)


class Unit(Protocol):
    """A computation of one device or berth: fed with rows, its state is a few bytes."""

    def feed(self, device: str, row: Row) -> Iterator[Output]: ...
    def feed_late(self, device: str, row: Row, vessel: str) -> Iterator[Output]: ...
    def state(self) -> bytes: ...
    def restore(self, state: bytes) -> None: ...


def value_of(row: Row, point: int | None) -> float:
    """A point's value; NaN where the profile does not have it or this scan did not read it."""
    if point is None or row.quality[point] == NOT_SCANNED:
        return NAN
    return float(row.values[point])


def fields_of(record: Any, *without: str) -> dict[str, wire.Value]:
    """A record of a kernel's output as fields: integers as int, the rest as float.

    A register below 0 is the kernels' way of saying that there is none; it is left out, as all unknown is.
    """
    fields = {name: record[name].item() for name in record.dtype.names if name not in without}
    return {name: value for name, value in fields.items() if not (name.startswith("register_") and value < 0)}


def event(device: str, code: str, point: str, t_ns: int, **fields: wire.Value) -> Output:
    """Something that a person should know: a code with its parameters, no sentence."""
    return Output("event", device, fields or {"value": 1.0}, t_ns, {"code": code, "point": point})


def load(state: NDArray[Any], saved: bytes) -> bool:
    """Put saved bytes back; False if they belong to another layout, which then starts afresh."""
    if len(saved) != state.nbytes:
        return False
    state[:] = np.frombuffer(saved, state.dtype).reshape(state.shape)
    return True


def join(parts: list[NDArray[Any]]) -> bytes:
    """Several states as one text of bytes."""
    return b"".join(part.tobytes() for part in parts)


def split(parts: list[NDArray[Any]], saved: bytes) -> bool:
    """The opposite of `join`; False, and nothing changed, if the bytes belong to another layout."""
    if len(saved) != sum(part.nbytes for part in parts):
        return False
    at = 0
    for part in parts:
        load(part, saved[at : at + part.nbytes])
        at += part.nbytes
    return True
