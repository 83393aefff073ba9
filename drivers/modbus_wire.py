"""An open connection or serial line: bytes out if they read, bytes in until they answer.

Sockets are asyncio's own; serial lines use pymodbus's transport over pyserial. pymodbus's client is left out:
its requests and answers are objects (127 against 70 µs of CPU a request, `benchmarks/test_drivers.py`), it
reconnects and retries by itself, and it answers questions that must stay open (`modbus_framing.py`).
"""

import asyncio
import os
import ssl
import termios
from functools import partial

from drivers.address import ModbusAddress
from drivers.modbus_framing import NoModbus, WrongTransaction, framing
from drivers.readonly import check_modbus
from drivers.serial_port import find_port


class Wire(asyncio.Protocol):
    """One request at a time; no retries, no reconnecting, one deadline. Not shared: the bus sees to that.

    Attributes:
        heard_s: Loop time at which the last byte came or went. [s]
        heard_bytes: Came so far.
        strays: Bytes that came and answer nothing.
    """

    def __init__(self, address: ModbusAddress) -> None:
        self.heard_s = 0.0
        self.heard_bytes = 0
        self._framing = framing(address)
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._lost: ConnectionError | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self.made = self._loop.create_future()

    @property
    def strays(self) -> bytearray:
        return self._framing.strays

    @property
    def half(self) -> bool:
        """Whether an unfinished frame has come."""
        return self._framing.half

    @property
    def lost(self) -> ConnectionError | None:
        """Why it is no longer open."""
        return self._lost

    async def ask(self, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        """Send a request and wait for its answer, a PDU.

        Raises: NotARead, TimeoutError, ConnectionError, NoModbus, WrongTransaction.
        """
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._answer = answer
        deadline = self._loop.call_later(timeout_s, self._end, TimeoutError())
        try:
            self.send(unit_id, pdu)
            return await answer
        finally:
            deadline.cancel()
            self._answer = None

    def send(self, unit_id: int, pdu: bytes) -> None:
        """The last stop before the wire. Raises: NotARead, ConnectionError."""
        check_modbus(pdu)
        if self._lost is not None or self._transport is None:
            raise self._lost or ConnectionError("not connected")
        self._transport.write(self._framing.frame(unit_id, pdu))
        self.heard_s = self._loop.time()

    def close(self) -> None:
        if self._transport is not None:
            transport, self._transport = self._transport, None
            transport.abort()
        self._lose(ConnectionError("connection lost"))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        if not self.made.done():
            self.made.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose(ConnectionError(f"connection lost: {exc}" if exc else "the device closed the connection"))

    def eof_received(self) -> bool:
        return False

    def data_received(self, data: bytes) -> None:
        self.heard_s = self._loop.time()
        self.heard_bytes += len(data)
        try:
            pdu = self._framing.feed(data)
        except NoModbus as error:
            self._lose(ConnectionError(str(error)), error)
            return
        except WrongTransaction as error:
            self._end(error)
            return
        if pdu is not None and self._answer is not None and not self._answer.done():
            self._answer.set_result(pdu)

    def _lose(self, reason: ConnectionError, error: Exception | None = None) -> None:
        if self._lost is None:
            self._lost = reason
        self._end(error or reason)

    def _end(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)


async def open_wire(address: ModbusAddress, timeout_s: float) -> Wire:
    """Connect, or open the line. Raises: OSError, with a reason that a person can act on."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            if address.is_serial:
                return await _open_line(address)
            context = tls_context(address) if address.transport == "tls" else None
            name = (address.tls_name or address.host) if context else None
            make = partial(Wire, address)
            _, wire = await loop.create_connection(
                make, address.host, address.tcp_port, ssl=context, server_hostname=name
            )
            return wire
    except TimeoutError as error:
        raise OSError("no answer to the connection request") from error
    except ConnectionRefusedError as error:
        raise OSError("connection refused; nothing listens on that port") from error
    except ssl.SSLCertVerificationError as error:
        raise OSError(
            f"its certificate is not trusted: {error.verify_message}; compare tls_ca and tls_name"
        ) from error
    except ssl.SSLError as error:
        raise OSError(f"TLS was refused: {error.reason or error}; does it ask for tls_cert?") from error
    except ValueError as error:  # 10.20..7: the name cannot even be asked for
        raise OSError(
            f"host = {address.host!r} is no name and no address; give one as in 10.20.0.7 or meter-1.quay.example"
        ) from error


def tls_context(address: ModbusAddress) -> ssl.SSLContext:
    """Trusts `tls_ca` and nothing else, and shows our certificate. TLS 1.2 at least.

    Source: MODBUS/TCP Security protocol specification, 2018, R-01 to R-08.
    Raises: OSError.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    for name in ("tls_ca", "tls_cert", "tls_key"):
        file = getattr(address, name)
        if file and not os.path.isfile(file):
            raise OSError(f"{name} = {file!r}: there is no such file; give a PEM file")
    if not address.tls_ca:
        raise OSError("tls_ca is not given; give the PEM file of the authority (or the very certificate) to trust")
    context.load_verify_locations(cafile=address.tls_ca)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # a pinned certificate needs no authority above it
    if address.tls_cert:
        try:  # without a password OpenSSL would ask on the terminal, and stop all devices until somebody answers
            context.load_cert_chain(address.tls_cert, address.tls_key or None, password="")
        except ssl.SSLError as error:
            raise OSError(
                f"tls_cert = {address.tls_cert!r} is not used: {error.reason or error};"
                " give a certificate and the key that belongs to it (PEM, key without password)"
            ) from error
    return context


async def _open_line(address: ModbusAddress) -> Wire:
    """A serial line that no other process has open (flock and TIOCEXCL, both by pyserial)."""
    from pymodbus.transport.serialtransport import create_serial_connection  # loads pyserial

    path = find_port(address.serial)
    wire = Wire(address)
    try:
        await create_serial_connection(
            asyncio.get_running_loop(), lambda: wire, path, baudrate=address.baud, bytesize=address.data_bits,
            parity=address.parity, stopbits=address.stop_bits, timeout=0,
        )  # fmt: skip
    except RuntimeError as error:
        raise OSError(f"{error}") from error
    except termios.error as error:
        wanted = f"{address.baud} baud, {address.data_bits} bits, parity {address.parity}"
        raise OSError(f"{path} does not take {wanted}, {address.stop_bits} stop bits: {error.args[-1]}") from error
    except OSError as error:
        if "exclusively lock" in str(error) or getattr(error, "errno", None) in (11, 16):
            raise OSError(f"{path} is in use by another process; one line has one master") from error
        raise
    await wire.made
    wire.heard_s = asyncio.get_running_loop().time()
    return wire
