"""A serial line on a pty pair: units on a bus, at the pace of its baud rate, perhaps with a second master.

The simulator holds one end, clients open the other as a serial port. A pty knows no parity: ask for N with
two stop bits, as the standard does where parity is not used. A character is 11 bits then.
"""

import asyncio
import contextlib
import logging
import os
import pty
import random
import termios
import tty
from collections import deque
from collections.abc import Mapping

from firmware_sim.delivery import Delivery
from firmware_sim.modbus_rtu import GAP_S, RtuReceiver, crc16, pack_rtu
from firmware_sim.modbus_unit import ModbusUnit, data_answer
from firmware_sim.wire_faults import Play, Request, WireFaults

log = logging.getLogger("firmware_sim")
BITS_A_CHARACTER = 11  # start, 8 data, 2 stop
_SPEEDS = {baud: getattr(termios, f"B{baud}") for baud in (1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)}
_CHUNK_S = 0.004  # what is written at once: timers are not finer
_FOREIGN_ANSWER_S = 0.02  # the unit that the second master asks takes this long


class SerialLine:
    """One line with its units. An absent unit is silence; unit 0 is a broadcast, which nobody answers.

    Args:
        baud: What a client has to set; at another rate nothing is understood.
        paced: Whether bytes take the time that they take on a line.
    """

    def __init__(
        self,
        units: Mapping[int, ModbusUnit],
        faults: Mapping[int, WireFaults] | None = None,
        baud: int = 19_200,
        paced: bool = True,
    ) -> None:
        self.units = dict(units)
        self.faults = dict(faults or {})
        self.unheard = 0  # bytes that came at another baud rate
        self.path = ""  # what clients open, once started
        self._baud = baud
        self._character_s = BITS_A_CHARACTER / baud if paced else 0.0
        self._receiver = RtuReceiver(self._take, GAP_S)
        self._delivery = Delivery(self._send, lambda how: None)
        self._queue: deque[bytes] = deque()
        self._free_s = 0.0  # loop time at which the line has carried all
        self._writer: asyncio.TimerHandle | None = None
        self._second_master: asyncio.Task[None] | None = None
        self._ours = self._theirs = -1

    def start(self) -> str:
        """Returns: the path that clients open. Raises: OSError."""
        self._ours, self._theirs = pty.openpty()
        # Held open, so that a client may come and go; raw, or the line would echo.
        tty.setraw(self._theirs)
        mode = termios.tcgetattr(self._theirs)
        mode[4] = mode[5] = _SPEEDS[self._baud]
        termios.tcsetattr(self._theirs, termios.TCSANOW, mode)
        os.set_blocking(self._ours, False)
        asyncio.get_running_loop().add_reader(self._ours, self._readable)
        self.path = os.ttyname(self._theirs)
        return self.path

    async def stop(self) -> None:
        self._receiver.cancel()
        self._delivery.cancel()
        if self._writer is not None:
            self._writer.cancel()
        if self._second_master is not None:
            self._second_master.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._second_master
        if self._ours >= 0:
            asyncio.get_running_loop().remove_reader(self._ours)
            os.close(self._ours)
            os.close(self._theirs)
            self._ours = self._theirs = -1

    async def apply(self) -> None:
        """Begin or end the second master, as the board says now."""
        faults = [f.board.get(f.device, "second-master") for f in self.faults.values()]
        fault = next((f for f in faults if f is not None), None)
        if self._second_master is not None:
            self._second_master.cancel()
            self._second_master = None
        if fault is not None:
            talk = self._talk(fault.number("period_s"), int(fault.number("unit")), bool(fault.number("answered")))
            self._second_master = asyncio.create_task(talk, name="second master")

    async def _talk(self, period_s: float, unit: int, answered: bool) -> None:
        """What another master does: it asks a unit for two registers, again and again."""
        numbers = random.Random(unit)
        ask = bytes((unit, 3, 0, 0, 0, 2))
        while True:
            self._send(ask + crc16(ask))
            if answered:
                await asyncio.sleep(_FOREIGN_ANSWER_S)
                words = [numbers.randrange(65_536) for _ in range(2)]
                self._send(pack_rtu(Request(unit, ask[1:]), data_answer(3, words)))
            await asyncio.sleep(period_s)

    def _readable(self) -> None:
        try:
            data = os.read(self._ours, 4096)
        except (BlockingIOError, OSError):
            return
        if termios.tcgetattr(self._theirs)[5] != _SPEEDS[self._baud]:
            if not self.unheard:
                log.warning("serial line: a client does not talk at %d baud; it is not understood", self._baud)
            self.unheard += len(data)
            return
        # The request takes the line for as long as its bytes take; a pty hands it over at once.
        now_s = asyncio.get_running_loop().time()
        self._free_s = max(self._free_s, now_s) + len(data) * self._character_s
        self._receiver.feed(data)

    def _take(self, request: Request) -> None:
        unit, faults = self.units.get(request.unit), self.faults.get(request.unit)
        if unit is None:
            return
        if faults is None or faults.none:
            self._delivery.play(Play(pack_rtu(request, unit.answer(request.pdu))))
        else:
            self._delivery.play(faults.play(request, unit.answer, pack_rtu))

    def _send(self, data: bytes) -> None:
        """Put bytes on the line, after 3.5 characters of silence where it was busy."""
        if not self._character_s:
            return self._write(data)
        size = max(1, round(_CHUNK_S / self._character_s))
        self._queue.extend(data[i : i + size] for i in range(0, len(data), size))
        if self._writer is None:
            loop = asyncio.get_running_loop()
            self._free_s = max(self._free_s, loop.time()) + 3.5 * self._character_s
            self._next_chunk()
        return None

    def _next_chunk(self) -> None:
        """Wait until the next bytes have gone over the line."""
        self._free_s += len(self._queue[0]) * self._character_s
        self._writer = asyncio.get_running_loop().call_at(self._free_s, self._chunk_sent)

    def _chunk_sent(self) -> None:
        self._write(self._queue.popleft())
        self._writer = None
        if self._queue:
            self._next_chunk()

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # nobody reads: lost, as on a line
            os.write(self._ours, data)
