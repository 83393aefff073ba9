"""The one owner of a Modbus connection or serial line, shared fairly by all units on it."""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from typing import NoReturn, TypeVar

from drivers.address import ModbusAddress
from drivers.errors import BusDown, DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus_framing import NoModbus, WrongTransaction, foreign_requests
from drivers.modbus_pdu import EXCEPTIONS, answer_bytes, describe, probes
from drivers.modbus_wire import Wire, open_wire

log = logging.getLogger(__name__)
E = TypeVar("E", bound=DriverError)

LONGEST_REST_S = 30.0  # of a dead bus between two probes
SILENT_UNITS = 3  # so many different units silent in a row, or all there are, and the bus is held for dead
OWED = 6  # answers per unit that may still come; older ones are held for lost
FOREIGN_REQUESTS = 2  # of another master: one alone may be noise


class Bus:
    """A connection or line. Every request of every unit on it goes through `ask`: one at a time, first come first.

    After a time-out the late answer must meet no later request. Modbus TCP numbers its requests, so late answers
    are skipped; the connection is closed where nothing else is answered on it, or half a frame has come. A serial
    line numbers nothing: it has to be silent for one time-out, and then, on either, the unit is asked for a
    few registers such that no answer it still owes has that length. Only the right length proves it in step.

    Attributes:
        address: What all units on it have in common.
        units: That are to be read on it.
        connections: Opened so far.
        requests: Sent so far.
        faults: How often what went wrong.
    """

    def __init__(self, address: ModbusAddress) -> None:
        self.address = address.shared
        self.connections = 0
        self.requests = 0
        self.faults: Counter[str] = Counter()
        self._wire: Wire | None = None
        self.units: set[int] = set()
        self._users = 0  # links that are open
        self._turn = asyncio.Lock()  # first come, first served
        self._next_s = 0.0  # no request before this loop time
        self._gap_s = 0.0  # the silence that a time-out has made necessary
        self._quiet_from_s = 0.0  # and since when; a new connection does not make up for it
        self._owed: dict[int, deque[int]] = {}  # unit -> lengths of the answers that may still come
        self._silent: set[int] = set()  # units without an answer since anything was answered
        self._last: dict[int, tuple[bytes, bytes]] = {}  # unit -> request and answer, where they carry no id
        self._alike: dict[tuple[int, bytes], bytes] = {}  # answers that equal another's, and were asked for twice
        self._foreign = 0
        self._listened = not self.address.is_serial or not self.address.listen_s
        self._failures = 0
        self._rest_until_s = 0.0
        self._down = ""  # why it is left alone
        self._on_return: list[Callable[[], None]] = []

    async def attach(self, timeout_s: float) -> None:
        """One user more; the first one connects. Raises: DeviceUnreachable."""
        if not self._users:
            self._turn = asyncio.Lock()  # the last users' event loop may have ended
        self._users += 1
        try:
            async with self._turn:
                await self._open(timeout_s)
        except BaseException:
            self.detach()
            raise

    def detach(self) -> None:
        """One user less; with the last one the connection is closed."""
        self._users -= 1
        if not self._users:
            self._close()

    def reset(self) -> None:
        """Forget all back-off: the next request is sent at once."""
        self._rest_until_s, self._failures = 0.0, 0

    def on_return(self, call: Callable[[], None]) -> None:
        """Have this called when a bus that was left alone answers again."""
        self._on_return.append(call)

    async def ask(self, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        """Send a request and return the PDU that answers it: function code and length are those of the request.

        Raises: DeviceUnreachable, DeviceRefused (an exception reply), ReadingRejected, NotARead.
        """
        async with self._turn:
            wire = await self._open(timeout_s)
            if unit_id in self._owed:
                await self._bring_into_step(wire, unit_id, pdu, timeout_s)
            answer = await self._exchange(wire, unit_id, pdu, timeout_s)
            if not self.address.has_transaction_ids and self._doubtful(unit_id, pdu, answer):
                answer = await self._asked_again(wire, unit_id, pdu, answer, timeout_s)
            self._last[unit_id] = pdu, answer
            return answer

    async def _open(self, timeout_s: float) -> Wire:
        """The open connection, or a new one. Raises: DeviceUnreachable."""
        loop = asyncio.get_running_loop()
        wait_s = self._rest_until_s - loop.time()
        if 0.0 < wait_s <= LONGEST_REST_S:
            raise BusDown(f"{self.address.bus_endpoint}: left alone for {wait_s:.1f} s: {self._down}", wait_s)
        if self._wire is not None and self._wire.lost is None:
            return self._wire
        self._close()
        try:
            wire = await open_wire(self.address, timeout_s)
        except OSError as error:
            self.faults["no_connection"] += 1
            reason = error.strerror or str(error)
            self._rest(reason)
            raise DeviceUnreachable(f"{self.address.bus_endpoint}: {reason}") from error
        self._wire = wire
        self.connections += 1
        if not self._listened:
            await self._listen(wire)
        return wire

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()
            self._wire = None

    async def _listen(self, wire: Wire) -> None:
        """A line on which somebody talks is not ours. Raises: DeviceUnreachable."""
        listen_s = self.address.listen_s
        log.info("%s: listens for %.0f s whether another master talks", self.address.bus_endpoint, listen_s)
        try:
            end_s = asyncio.get_running_loop().time() + listen_s
            while (left_s := end_s - asyncio.get_running_loop().time()) > 0.0:
                await asyncio.sleep(min(left_s, 0.1))
                if wire.heard_bytes >= 8:  # a request; less may be noise
                    break
        except BaseException:
            self._close()
            raise
        if wire.lost is not None:
            self._rest(str(wire.lost))
            raise DeviceUnreachable(f"{self.address.bus_endpoint}: {wire.lost}") from wire.lost
        if wire.heard_bytes >= 8:
            self._leave_to_other_master(f"{wire.heard_bytes} bytes came unasked while listening")
        self._listened = True

    def _leave_to_other_master(self, seen: str) -> NoReturn:
        self._listened, self._foreign = False, 0
        self.faults["second_master"] += 1
        self._close()
        remedy = (
            f"{seen}; another master talks on this line, which has room for one: stop it, or take another line"
        )
        self._rest(remedy, always=True)
        raise DeviceUnreachable(f"{self.address.bus_endpoint}: {remedy}")

    async def _pace(self, wire: Wire, timeout_s: float) -> None:
        """Wait for what was agreed, and for silence on a line. Raises: DeviceUnreachable."""
        loop = asyncio.get_running_loop()
        if self._next_s > loop.time():
            await asyncio.sleep(self._next_s - loop.time())
        gap_s = max(self._gap_s, self.address.silence_s)
        if not gap_s:
            return
        end_s = loop.time() + 3.0 * timeout_s + gap_s
        while (rest_s := max(wire.heard_s, self._quiet_from_s) + gap_s - loop.time()) > 0.0:
            if loop.time() > end_s:
                raise self._fault(
                    DeviceUnreachable, "never_silent", "the line is never silent; something else talks"
                )
            await asyncio.sleep(rest_s)
        self._gap_s = 0.0
        self._look_for_master(wire)

    def _look_for_master(self, wire: Wire) -> None:
        """Bytes that nobody asked for: requests of another master end our use of the line."""
        if wire.strays and self.address.is_serial:
            units = foreign_requests(bytes(wire.strays))
            self._foreign += len(units)
            if self._foreign >= FOREIGN_REQUESTS:
                self._leave_to_other_master(f"requests to unit {units[-1]} that are not ours came")
        wire.strays.clear()

    async def _exchange(self, wire: Wire, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        """One request and its answer."""
        await self._pace(wire, timeout_s)
        expected = answer_bytes(pdu)
        deadline_s = timeout_s + (expected + len(pdu) + 8) * self.address.character_s
        loop = asyncio.get_running_loop()
        self.requests += 1
        sent_s = loop.time()
        may_come = not self.address.has_transaction_ids  # after this, the answer
        try:
            answer = await wire.ask(unit_id, pdu, deadline_s)
            may_come = False
        except TimeoutError as error:
            may_come = True  # with transaction ids, too: a gateway's own line may be out of step
            self._timed_out(wire, unit_id)
            raise self._fault(DeviceUnreachable, "no_answer", "no answer", unit_id, pdu) from error
        except WrongTransaction as error:
            may_come = False
            raise self._fault(ReadingRejected, "wrong_transaction", str(error), unit_id, pdu) from error
        except NoModbus as error:
            self._close()
            raise self._fault(DeviceUnreachable, "undecodable", str(error), unit_id, pdu) from error
        except ConnectionError as error:
            self._close()
            raise self._fault(DeviceUnreachable, "connection_lost", str(error), unit_id, pdu) from error
        finally:  # a cancellation, too, leaves an answer that may still come
            now_s = loop.time()
            self._next_s = max(now_s + self.address.pause_s, sent_s + self._spacing_s)
            if may_come:
                self._owes(unit_id, expected)
                if not self.address.has_transaction_ids:  # silent for so long from here on
                    self._gap_s, self._quiet_from_s = timeout_s, now_s
        self._answered()
        return self._checked(unit_id, pdu, answer)

    @property
    def _spacing_s(self) -> float:
        rate = self.address.max_requests_per_s
        return 1.0 / rate if rate else 0.0

    def _checked(self, unit_id: int, pdu: bytes, answer: bytes) -> bytes:
        """An answer that has the form its request asks for. Raises: DeviceRefused, ReadingRejected."""
        function, expected = pdu[0], answer_bytes(pdu)
        if answer[0] & 0x7F != function:
            self._suspect(unit_id, expected)
            seen = f"function code {answer[0]}, not {function}"
            raise self._fault(ReadingRejected, "wrong_function", seen, unit_id, pdu)
        if answer[0] & 0x80:
            code = answer[1] if len(answer) > 1 else 0
            meaning = EXCEPTIONS.get(code, "see the device's manual")
            text = f"exception {code}: {meaning}"
            raise self._fault(DeviceRefused, f"exception_{code}", text, unit_id, pdu)
        if expected and (len(answer) != expected or answer[1] != expected - 2):
            self._suspect(unit_id, expected)
            said = answer[1] if len(answer) > 1 else "none"
            seen = f"{max(0, len(answer) - 2)} bytes, said to be {said}, not {expected - 2}"
            raise self._fault(ReadingRejected, "wrong_length", seen, unit_id, pdu)
        return answer

    def _suspect(self, unit_id: int, expected: int) -> None:
        """On a line an answer of another form may be that to an earlier request; ours may still come."""
        if not self.address.has_transaction_ids:
            self._owes(unit_id, expected)

    def _owes(self, unit_id: int, expected: int) -> None:
        self._owed.setdefault(unit_id, deque(maxlen=OWED)).append(expected)

    async def _bring_into_step(self, wire: Wire, unit_id: int, pdu: bytes, timeout_s: float) -> None:
        """Ask for something small until an answer has the length that was asked for, and no other request's.

        It is also the one cheap request by which a silent device is probed. An exception reply has the same length
        for all requests: three of them in a row are taken for a device that refuses such requests.
        Raises: DeviceUnreachable.
        """
        owed = self._owed[unit_id]
        for _ in range(3):
            probe = next(p for p in probes(pdu, OWED + 4) if answer_bytes(p) not in owed)
            try:
                await self._exchange(wire, unit_id, probe, timeout_s)
                break
            except DeviceRefused:
                self._owes(unit_id, answer_bytes(probe))
            except ReadingRejected as error:
                self._gap_s, self._quiet_from_s = timeout_s, asyncio.get_running_loop().time()
                seen = "answers come one request late; waiting until they are in step"
                raise self._fault(DeviceUnreachable, "out_of_step", seen, unit_id, pdu) from error
        del self._owed[unit_id]

    def _doubtful(self, unit_id: int, pdu: bytes, answer: bytes) -> bool:
        """Whether it is, to the last bit, the answer to the unit's last and other request: perhaps its double."""
        before = self._last.get(unit_id)
        return (
            before is not None and before[0] != pdu and before[1] == answer
            and self._alike.get((unit_id, pdu)) != answer
        )  # fmt: skip

    async def _asked_again(self, wire: Wire, unit_id: int, pdu: bytes, answer: bytes, timeout_s: float) -> bytes:
        self._owes(unit_id, answer_bytes(pdu))
        self._gap_s = min(timeout_s, 0.1 + 10.0 * self.address.silence_s)
        await self._bring_into_step(wire, unit_id, pdu, timeout_s)
        again = await self._exchange(wire, unit_id, pdu, timeout_s)
        if again == answer:
            self._alike[unit_id, pdu] = answer
        return again

    def _timed_out(self, wire: Wire, unit_id: int) -> None:
        if unit_id in self.units:  # a tool may look for others: that nobody is there says nothing of the bus
            self._silent.add(unit_id)
        alone = len(self.units) < 2
        dead = not alone and len(self._silent) >= min(len(self.units), SILENT_UNITS)
        if dead:
            self._rest(f"{len(self._silent)} units in a row did not answer")
        if not self.address.is_serial and (alone or dead or wire.half):
            self._close()

    def _answered(self) -> None:
        self._silent.clear()
        self._failures = 0
        if self._down:
            self._down = ""
            log.info("%s: answers again", self.address.bus_endpoint)
            for call in self._on_return:
                call()

    def _rest(self, reason: str, always: bool = False) -> None:
        """Leave the bus alone for a while, longer each time. With one unit, the unit's own back-off does it."""
        if len(self.units) < 2 and not always:
            return
        self._failures += 1
        if not self._down:
            log.warning("%s: left alone: %s", self.address.bus_endpoint, reason)
        self._down = reason
        self._silent.clear()
        wait_s = random.uniform(0.5, 1.0) * min(LONGEST_REST_S, 0.5 * 2.0 ** min(self._failures, 10))
        self._rest_until_s = asyncio.get_running_loop().time() + wait_s

    def _fault(self, kind: type[E], name: str, problem: str, unit_id: int | None = None, pdu: bytes = b"") -> E:
        self.faults[name] += 1
        where = self.address.bus_endpoint
        error = kind(f"{where}/{unit_id}: {describe(pdu)}: {problem}" if pdu else f"{where}: {problem}")
        error.fault = name
        return error


class Buses:
    """Hands out one Bus per connection or line. One per process: two owners would take answers from each other."""

    def __init__(self) -> None:
        self._buses: dict[str, Bus] = {}

    def bus(self, address: ModbusAddress) -> Bus:
        """The bus that this unit is on. Raises: ValueError, if it was made with other settings."""
        bus = self._buses.setdefault(address.bus_key, Bus(address))
        if bus.address != address.shared:
            raise ValueError(f"{address.endpoint}: {bus.address} and {address.shared} share a bus and differ")
        bus.units.add(address.unit_id)
        return bus
