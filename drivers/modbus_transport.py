"""pymodbus's TCP client, made to read only, to end each wait at once, and to leave answers as they came."""

import asyncio
import logging

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU
from pymodbus.transaction import TransactionManager

from drivers.readonly import check_modbus

# pymodbus dumps its last 20 frames at every time-out; what matters of it is in our own errors and counters.
# Whoever wants the frames: logging.getLogger("pymodbus.logging").setLevel("DEBUG").
logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

MBAP_BYTES = 7  # transaction id, protocol id, length, unit id; the function code follows


class ReadOnlyTcpClient(AsyncModbusTcpClient):
    """pymodbus's client over a transport that lets only reads pass. No retries, no reconnecting."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        super().__init__(host, port=port, timeout=timeout_s, retries=0, reconnect_delay=0)
        framer = FramerSocket(_raw_decoder())
        self.ctx = _ReadOnlyTransport(self.comm_params, framer, 0, False, None, None, None)


class _ReadOnlyTransport(TransactionManager):
    """pymodbus's transport and framing, with another end to each of its four ways of waiting.

    Connecting and asking end with their deadline or a cancellation (in Python 3.11 `wait_for` may swallow
    one), a lost connection and an undecodable answer at once, instead of at the deadline.
    """

    def send(self, data: bytes, addr: tuple[str, int] | None = None) -> None:
        """Last stop before the socket. Raises: NotARead."""
        check_modbus(data[MBAP_BYTES:])
        super().send(data, addr)

    async def connect(self) -> bool:
        """Connect, or raise OSError."""
        self.is_closing = False
        async with asyncio.timeout(self.comm_params.timeout_connect):
            self.transport, _ = await self.call_create()
        return True

    async def execute(self, no_response_expected: bool, request: ModbusPDU) -> ModbusPDU:
        """Send a request and wait for its answer. Raises: TimeoutError, ConnectionError, ModbusException."""
        async with self._lock:
            if not self.transport:
                raise ConnectionError("connection lost")
            request.transaction_id = self.getNextTID()
            self.response_future = answer = self.loop.create_future()
            self.pdu_send(request)
            async with asyncio.timeout(self.comm_params.timeout_connect):
                reply: ModbusPDU = await answer
            return reply

    def callback_data(self, data: bytes, addr: tuple[str, int] | None = None) -> int:
        try:
            return super().callback_data(data, addr)
        except ModbusException as error:
            self._end_waiting(error)
            return len(data)

    def callback_disconnected(self, exc: Exception | None) -> None:
        reason = f"connection lost: {exc}" if exc else "the device closed the connection"
        self._end_waiting(ConnectionError(reason))

    def _end_waiting(self, error: Exception) -> None:
        if not self.response_future.done():
            self.response_future.set_exception(error)
            self.response_future.exception()  # if nobody waits, asyncio would complain


class RawReply(ModbusPDU):
    """The answer to a read as it came: pymodbus would loop over the registers, and not check their number.

    Attributes:
        data: What follows the function code: number of bytes, then the bytes.
    """

    data = b""

    def decode(self, data: bytes) -> None:
        self.data = data


class _RawCoils(RawReply):
    function_code = 1


class _RawDiscrete(RawReply):
    function_code = 2


class _RawHolding(RawReply):
    function_code = 3


class _RawInput(RawReply):
    function_code = 4


def _raw_decoder() -> DecodePDU:
    decoder = DecodePDU(False)
    for reply in (_RawCoils, _RawDiscrete, _RawHolding, _RawInput):
        decoder.register(reply)
    return decoder
