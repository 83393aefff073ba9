"""The control port: one JSON request a line, one JSON answer a line, on loopback only.

Tests and the demo ask here for the truth. Product code never opens it.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from firmware_sim.bench import Bench
from firmware_sim.clock import SimClock
from firmware_sim.faults import KINDS, Fault, FaultBoard, FaultError

REQUESTS = (
    '{"get": "truth"}, {"get": "state"}, {"get": "faults"}, {"soc_at": [ns, …]}, {"registers_at": [ns, …]}, '
    '{"fault": name, "on": true or false, "device": name, "options": {…}}, {"stop": true}'
)
_LONGEST = 8 * 2**20  # a day of instants at 1 Hz fits


class ControlPort:
    """Answers questions about a bench, and switches its faults.

    Args:
        traffic: Counts requests by device and function code.
        board: Where faults are switched; the bench's own if there is none.
        settle: Returns when a switched fault has come about; a switch is answered after it.
    """

    def __init__(
        self,
        bench: Bench,
        clock: SimClock,
        stop: asyncio.Event,
        traffic: Callable[[], dict[str, dict[int, int]]],
        board: FaultBoard | None = None,
        settle: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._bench = bench
        self._clock = clock
        self._stop = stop
        self._traffic = traffic
        self._board = bench.board if board is None else board
        self._settle = settle
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self, port: int) -> int:
        """Listen on 127.0.0.1; 0 picks a free port. Returns: the port. Raises: OSError if it is taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=_LONGEST)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while line := await reader.readline():
                answer = json.dumps(self.answer(line), separators=(",", ":")).encode() + b"\n"
                if self._settle is not None:
                    await self._settle()
                writer.write(answer)
                await writer.drain()
        except (ConnectionError, ValueError):  # gone, or a line beyond the limit
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """The answer to one request; {"error": sentence} where it cannot be had."""
        try:
            request = json.loads(line)
        except ValueError:
            return {"error": f"{line[:80]!r} is not JSON; use one of {REQUESTS}"}
        match request:
            case {"get": "truth"}:
                return {"speed": self._clock.speed, **self._bench.truth(*self._now())}
            case {"get": "state"}:
                t_ns, epoch_ns = self._now()
                return {
                    "t_ns": epoch_ns + t_ns,
                    "devices": self._bench.state(t_ns),
                    "requests": self._traffic(),
                }
            case {"soc_at": [*instants]} if self._bench.berths and _all_whole(instants):
                berth = request.get("berth", next(iter(self._bench.berths)))
                if berth not in self._bench.berths:
                    return {"error": f"berth {berth!r} is not one of {', '.join(self._bench.berths)}"}
                return {"soc": self._bench.soc(berth, self._since_start(instants))}
            case {"registers_at": [*instants]} if _all_whole(instants):
                rows = [self._bench.registers(t) for t in self._since_start(instants)]
                meters = self._bench.registers(0)
                return {"registers": {name: [row[name] for row in rows] for name in meters}}
            case {"get": "faults"}:
                active = [self._shown(fault) for fault in self._board.active()]
                return {"active": active, "kinds": {name: kind.describe() for name, kind in KINDS.items()}}
            case {"fault": str(name), "on": bool(on)}:
                return self._switch(name, on, request)
            case {"stop": True}:
                self._stop.set()
                return {"stopping": True}
            case _:
                return {"error": f"{json.dumps(request)[:80]} is no request; use one of {REQUESTS}"}

    def _switch(self, name: str, on: bool, request: dict[str, Any]) -> dict[str, Any]:
        device, options = request.get("device"), request.get("options", {})
        if not (device is None or isinstance(device, str)) or not isinstance(options, dict):
            return {"error": f"{json.dumps(request)[:80]}: device is a text and options an object"}
        try:
            if on:
                return {"on": True, **self._shown(self._board.on(name, device, **options))}
            ended = self._board.off(name, device)
        except FaultError as error:
            return {"error": str(error)}
        return {"on": False, "fault": name, "ended": [self._shown(fault) for fault in ended]}

    def _shown(self, fault: Fault) -> dict[str, Any]:
        epoch_ns = self._clock.epoch_ns
        return {
            "fault": fault.name,
            "device": fault.device,
            "options": dict(fault.options),
            "since_ns": epoch_ns + fault.since_ns,
            "until_ns": None if fault.until_ns is None else epoch_ns + fault.until_ns,
        }

    def _now(self) -> tuple[int, int]:
        now_ns = self._clock.now_ns()
        return now_ns - self._clock.epoch_ns, self._clock.epoch_ns

    def _since_start(self, instants: list[int]) -> list[int]:
        return [t_ns - self._clock.epoch_ns for t_ns in instants]


def _all_whole(items: list[Any]) -> bool:
    return all(isinstance(item, int) for item in items)
