"""Modbus TCP: pymodbus carries the bytes, the plan and the codec are ours.

pymodbus 3.16 takes an answer with another function code, another length or transaction id 0 for success;
here it is none.
"""

import logging
from collections import Counter
from collections.abc import Callable
from time import perf_counter
from typing import Self, TypeVar

from pymodbus.exceptions import ModbusException
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.bit_message import ReadCoilsRequest, ReadDiscreteInputsRequest
from pymodbus.pdu.register_message import ReadHoldingRegistersRequest, ReadInputRegistersRequest

from drivers.codec import Decoder
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.modbus_transport import RawReply, ReadOnlyTcpClient
from drivers.plan import Block, plan
from drivers.profile import Profile, Table
from drivers.row import Quality, Row

log = logging.getLogger(__name__)
E = TypeVar("E", bound=DriverError)

REQUESTS: dict[Table, type[ModbusPDU]] = {
    "coil": ReadCoilsRequest,
    "discrete": ReadDiscreteInputsRequest,
    "holding": ReadHoldingRegistersRequest,
    "input": ReadInputRegistersRequest,
}
EXCEPTIONS = {
    1: "it has no such table; compare the profile's table with the device",
    2: "it has no such registers; compare the profile with the device, or lower max_gap",
    3: "it takes no such request; lower the profile's max_registers",
    4: "it has a fault of its own",
    5: "it needs longer than a request",
    6: "it is busy",
    10: "the gateway has no path to the unit",
    11: "the unit behind the gateway does not answer",
}


class ModbusDevice:
    """A device to read: opens links, as many as are needed one after the other."""

    def __init__(
        self, profile: Profile, host: str, port: int = 502, unit_id: int = 1, timeout_s: float = 1.0
    ) -> None:
        """Compile the plans of all scan classes.

        Args:
            profile: What the device offers.
            host: Its address. Nothing is sent before a link is opened.
            port: TCP port.
            unit_id: 0..255; most devices without a gateway take any.
            timeout_s: Deadline of connecting, and of each request. [s]

        Raises: ProfileError.
        """
        self.profile = profile
        self.endpoint = f"modbus://{host}:{port}/{unit_id}"
        self._address = host, port, unit_id, timeout_s
        self._decoders = {scan: Decoder(profile, plan(profile, scan)) for scan in profile.scans}
        self._trouble: dict[Block, str] = {}  # outlives a link, so that a lasting fault is logged once

    def open(self) -> "ModbusTcpLink":
        """A link, not connected before its `async with`."""
        return ModbusTcpLink(self.endpoint, self._decoders, self._trouble, *self._address)


class ModbusTcpLink:
    """A connection, open for as long as its `async with` block.

    A request is one attempt with one deadline: only the caller knows if a late answer is of use. After a
    deadline the connection is closed, so that no late answer can be taken for the next one.

    Attributes:
        requests: Sent so far.
        round_trip_s: Of the last request that was answered. [s]
        faults: How often what went wrong, as in `exception_2`, `wrong_length`, `no_answer`.
    """

    def __init__(
        self,
        endpoint: str,
        decoders: dict[str, Decoder],
        trouble: dict[Block, str],
        host: str,
        port: int,
        unit_id: int,
        timeout_s: float,
    ) -> None:
        self.endpoint = endpoint
        self.requests = 0
        self.round_trip_s = float("nan")
        self.faults: Counter[str] = Counter()
        self._decoders = decoders
        self._trouble = trouble
        self._unit_id = unit_id
        self._client = ReadOnlyTcpClient(host, port, timeout_s)

    async def __aenter__(self) -> Self:
        """Connect. Raises: DeviceUnreachable."""
        try:
            await self._client.connect()
        except OSError as error:  # a time-out is one, too
            self._client.close()
            raise DeviceUnreachable(f"{self.endpoint}: {_reason(error)}") from error
        except BaseException:
            self._client.close()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._client.close()

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        """Read every block of a scan class into one row.

        A block that the device refuses or answers with nonsense is unknown, with that quality, and counted;
        the others stay good. When the link goes, what came before is returned, the rest has no answer.

        Args:
            scan: A scan class of the profile.
            now_ns: Tells the time; asked when an answer has arrived. [ns, UTC]

        Raises: DeviceUnreachable, if nothing was answered at all.
        """
        decoder = self._decoders[scan]
        answers: list[bytes | Quality] = []
        t_ns = 0
        for block in decoder.plan.blocks:
            try:
                answers.append(await self.read_block(block))
            except DeviceRefused as error:
                answers.append(Quality.REFUSED)
                self._tell(block, error)
            except ReadingRejected as error:
                answers.append(Quality.NONSENSE)
                self._tell(block, error)
            except DeviceUnreachable:
                if not answers:
                    raise
                answers += [Quality.NO_ANSWER] * (len(decoder.plan.blocks) - len(answers))
                break
            else:
                self._tell(block, None)
            t_ns = now_ns()
        return decoder.decode(answers, t_ns)

    async def read_block(self, block: Block) -> bytes:
        """Read one block: as many bytes as its registers or bits take, or an error.

        Raises: DeviceUnreachable, DeviceRefused, ReadingRejected.
        """
        request = REQUESTS[block.table](address=block.address, count=block.count, dev_id=self._unit_id)
        self.requests += 1
        sent_s = perf_counter()
        try:
            reply = await self._client.ctx.execute(False, request)
        except TimeoutError as error:
            self._client.close()
            raise self._fault(DeviceUnreachable, "no_answer", block, "no answer") from error
        except ConnectionError as error:
            raise self._fault(DeviceUnreachable, "connection_lost", block, str(error)) from error
        except ModbusException as error:
            raise self._fault(ReadingRejected, "undecodable", block, "an answer of no known form") from error
        self.round_trip_s = perf_counter() - sent_s
        return self._checked(block, request, reply)

    def _checked(self, block: Block, request: ModbusPDU, reply: ModbusPDU) -> bytes:
        """The data of a reply that answers the request, and nothing else."""
        if reply.transaction_id != request.transaction_id:  # pymodbus lets 0 pass
            seen = f"transaction id {reply.transaction_id}, not the request's"
            raise self._fault(ReadingRejected, "wrong_transaction", block, seen)
        if reply.function_code & 0x7F != request.function_code:
            seen = f"function code {reply.function_code}, not {request.function_code}"
            raise self._fault(ReadingRejected, "wrong_function", block, seen)
        if isinstance(reply, ExceptionResponse):
            code = reply.exception_code
            meaning = EXCEPTIONS.get(code, "see the device's manual")
            raise self._fault(DeviceRefused, f"exception_{code}", block, f"exception {code}: {meaning}")
        data = reply.data if isinstance(reply, RawReply) else b""
        expected = (block.count + 7) // 8 if block.is_bits else 2 * block.count
        if len(data) != expected + 1 or data[0] != expected:
            seen = f"{len(data) - 1} bytes, said to be {data[0] if data else 'none'}, not {expected}"
            raise self._fault(ReadingRejected, "wrong_length", block, seen)
        return data[1:]

    def _fault(self, kind: type[E], name: str, block: Block, problem: str) -> E:
        self.faults[name] += 1
        return kind(f"{self.endpoint}: {block}: {problem}")

    def _tell(self, block: Block, error: DriverError | None) -> None:
        """Log changes, not states."""
        before, now = self._trouble.get(block), str(error) if error else None
        if before == now:
            return
        if now is None:
            del self._trouble[block]
            log.info("%s: %s is read again", self.endpoint, block)
        else:
            self._trouble[block] = now
            log.warning("%s", now)


def _reason(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; nothing listens on that port"
    return error.strerror or str(error) or "no answer to the connection request"
