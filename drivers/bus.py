"""The one owner of a Modbus connection or serial line, shared fairly by all units on it."""

from collections import Counter
from collections.abc import Callable

from drivers.address import ModbusAddress


class Bus:
    """A connection or line. Every request of every unit on it goes through `ask`, one at a time, first come first served.

    Attributes:
        faults: How often what went wrong on the connection itself.
    """

    def __init__(self, address: ModbusAddress) -> None:
        self.address = address.shared
        self.faults: Counter[str] = Counter()

    async def attach(self, timeout_s: float) -> None:
        """One user more; the first one connects. Raises: DeviceUnreachable."""
        raise NotImplementedError

    def detach(self) -> None:
        """One user less; with the last one the connection is closed."""
        raise NotImplementedError

    async def ask(self, unit_id: int, pdu: bytes, timeout_s: float) -> bytes:
        """Send a request and return the PDU that answers it: function code and length are those of the request.

        Raises: DeviceUnreachable, DeviceRefused (an exception reply), ReadingRejected, NotARead.
        """
        raise NotImplementedError

    def reset(self) -> None:
        """Forget all back-off: the next request is sent at once."""
        raise NotImplementedError

    def on_return(self, call: Callable[[], None]) -> None:
        """Have this called when a bus that was left alone answers again."""
        raise NotImplementedError


class Buses:
    """Hands out one Bus per connection or line. One per process: two owners would take answers from each other."""

    def __init__(self) -> None:
        self._buses: dict[str, Bus] = {}

    def bus(self, address: ModbusAddress) -> Bus:
        """The bus that this unit is on. Raises: ValueError, if it was made with other settings."""
        bus = self._buses.setdefault(address.bus_key, Bus(address))
        if bus.address != address.shared:
            raise ValueError(f"{address.endpoint}: {bus.address} and {address.shared} share a bus and differ")
        return bus
