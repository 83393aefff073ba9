"""A Modbus device: its plans, its decoders, and links that read it over the bus it is on."""

import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Self

from drivers.address import ModbusAddress
from drivers.bus import Bus, Buses
from drivers.codec import Decoder
from drivers.cost import Cost
from drivers.errors import DeviceRefused, DeviceUnreachable, DriverError, ReadingRejected
from drivers.learned import Learned
from drivers.modbus_pdu import read_pdu
from drivers.plan import Block, plan
from drivers.profile import Profile, Table
from drivers.row import Quality, Row

log = logging.getLogger(__name__)

FUNCTIONS: dict[Table, int] = {"coil": 1, "discrete": 2, "holding": 3, "input": 4}
PATIENCE = 4  # refusals or nonsense in a row, then a block is set aside
LONGEST_ASIDE_S = 60.0
ABSENT = ("exception_10", "exception_11")  # a gateway's, about the whole unit, often after a time-out of its own


@dataclass(slots=True)
class BlockState:
    """What went wrong with a block. Outlives a link, so that a lasting fault is logged once."""

    trouble: str = ""
    fault: str = ""
    quality: Quality = Quality.REFUSED
    failures: int = 0
    until_s: float = 0.0  # monotonic; not asked before

    def fail(self, quality: Quality, now_s: float) -> None:
        self.quality = quality
        self.failures += 1
        if self.failures >= PATIENCE:
            wait_s = min(LONGEST_ASIDE_S, 2.0 ** min(self.failures - PATIENCE, 10))
            self.until_s = now_s + random.uniform(0.5, 1.0) * wait_s

    @property
    def aside(self) -> bool:
        return self.failures >= PATIENCE


class ModbusDevice:
    """A device to read: opens links, as many as are needed one after the other."""

    def __init__(
        self,
        profile: Profile,
        address: ModbusAddress,
        timeout_s: float = 1.0,
        buses: Buses | None = None,
        learned: Learned | None = None,
    ) -> None:
        """Compile the plans of all scan classes. Nothing is sent before a link is opened.

        Args:
            profile: What the device offers.
            address: Where it is.
            timeout_s: Deadline of connecting, and of each request. [s]
            buses: What it shares connections through; without, the connection is its own.
            learned: What commissioning found out about it (`drivers/learn.py`).

        Raises: ProfileError.
        """
        self.profile = profile
        self.endpoint = address.endpoint
        self.bus = (buses or Buses()).bus(address)
        self._unit_id, self._timeout_s = address.unit_id, timeout_s
        cost = Cost.of(address)
        self._decoders = {scan: Decoder(profile, plan(profile, scan, cost, learned)) for scan in profile.scans}
        self._states: dict[Block, BlockState] = {}

    def open(self) -> "ModbusLink":
        """A link, not connected before its `async with`."""
        return ModbusLink(self.profile, self._decoders, self._states, self.bus, self._unit_id, self._timeout_s)

    def reset(self) -> None:
        """Forget all back-off: whatever was refused or silent may have been plugged in."""
        for state in self._states.values():
            state.failures, state.until_s = 0, 0.0
        self.bus.reset()


class ModbusLink:
    """A user of the bus, for as long as its `async with` block; the bus connects and reconnects.

    A request is one attempt with one deadline: only the caller knows if a late answer is of use.

    Attributes:
        requests: Sent so far.
        round_trip_s: Of the last request that was answered, with its wait for the bus. [s]
        faults: How often what went wrong, as in `exception_2`, `wrong_length`, `no_answer`.
    """

    def __init__(
        self,
        profile: Profile,
        decoders: dict[str, Decoder],
        states: dict[Block, BlockState],
        bus: Bus,
        unit_id: int,
        timeout_s: float,
    ) -> None:
        self.endpoint = f"{bus.address.bus_endpoint}/{unit_id}"
        self.requests = 0
        self.round_trip_s = float("nan")
        self.faults: Counter[str] = Counter()
        self._points = profile.points
        self._decoders = decoders
        self._states = states
        self._bus = bus
        self._unit_id, self._timeout_s = unit_id, timeout_s
        self._answers: dict[Block, bytes] = {}
        self._news: list[tuple[Block, str]] = []  # what this scan has found wrong that was not known

    async def __aenter__(self) -> Self:
        """Connect, if nobody has. Raises: DeviceUnreachable."""
        await self._bus.attach(self._timeout_s)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._bus.detach()

    @property
    def set_aside(self) -> int:
        """Blocks that are asked only now and then, since they are refused or answered with nonsense."""
        return sum(state.aside for state in self._states.values())

    async def scan(self, scan: str, now_ns: Callable[[], int]) -> Row:
        """Read every block of a scan class into one row.

        A block that the device refuses or answers with nonsense is unknown, with that quality, and counted;
        the others stay good. After four times in a row it is set aside: asked again after a second or two,
        then less and less often, down to once a minute. So is one that is never answered although others
        are; it is asked last. When the device falls silent, what came before is returned, the rest has no
        answer.

        Args:
            scan: A scan class of the profile.
            now_ns: Tells the time; asked when an answer has arrived. [ns, UTC]

        Raises: DeviceUnreachable, if nothing was answered at all.
        """
        decoder = self._decoders[scan]
        blocks = decoder.plan.blocks
        answers: list[bytes | Quality] = [Quality.NO_ANSWER] * len(blocks)
        t_ns, answered = 0, False
        for i in self._order(blocks):
            block = blocks[i]
            state = self._states.get(block)
            if state is not None and state.aside and time.monotonic() < state.until_s:
                answers[i] = state.quality
                continue
            try:
                answers[i] = self._answers[block] = await self.read_block(block)
            except DeviceRefused as error:
                answers[i] = self._note(block, Quality.REFUSED, error)
            except ReadingRejected as error:
                answers[i] = self._note(block, Quality.NONSENSE, error)
            except DeviceUnreachable as error:
                if error.fault == "no_answer":
                    self._note_silence(block, error, answered)
                if not answered:
                    raise
                break
            else:
                if state is not None:
                    self._well(block)
            answered = True
            t_ns = now_ns()
        self._tell()
        return decoder.decode(answers, t_ns or now_ns())

    def _order(self, blocks: Sequence[Block]) -> Sequence[int]:
        """Those that were silent last: if it is only they, the others show that the device is there."""
        order = range(len(blocks))
        if not self._states:
            return order
        silent = {block for block, state in self._states.items() if state.quality == Quality.NO_ANSWER}
        return sorted(order, key=lambda i: blocks[i] in silent) if silent else order

    async def read_block(self, block: Block) -> bytes:
        """Read one block: as many bytes as its registers or bits take, or an error.

        Raises: DeviceUnreachable, DeviceRefused, ReadingRejected.
        """
        self.requests += 1
        asked_s = perf_counter()
        try:
            pdu = await self._bus.ask(
                self._unit_id, read_pdu(FUNCTIONS[block.table], block.address, block.count), self._timeout_s
            )
        except DriverError as error:
            if error.fault:
                self.faults[error.fault] += 1
            raise
        self.round_trip_s = perf_counter() - asked_s
        return pdu[2:]

    def words(self, point: int) -> bytes | None:
        """The registers of a point as they last came; None if they never have, or for a bit of a bit table.

        Args:
            point: Its position in a row.
        """
        asked = self._points[point]
        for decoder in self._decoders.values():
            for block, carried in zip(decoder.plan.blocks, decoder.plan.points, strict=True):
                if point in carried and (data := self._answers.get(block)) and not block.is_bits:
                    start = 2 * ((asked.address or 0) - block.address)
                    return data[start : start + 2 * asked.words]
        return None

    def _note(self, block: Block, quality: Quality, error: DriverError) -> Quality:
        """Count a refusal, nonsense, or silence. Changes are told, not states. Returns: the quality."""
        state = self._states.setdefault(block, BlockState())
        state.fail(quality, time.monotonic())
        state.fault = error.fault
        if state.aside and error.fault in ABSENT:  # one request is enough to know about the unit
            for other in self._states.values():
                if other.aside and other.fault in ABSENT:
                    other.until_s = max(other.until_s, state.until_s)
        if state.trouble != str(error):
            state.trouble = str(error)
            self._news.append((block, state.trouble))
        return quality

    def _tell(self) -> None:
        """Log what is new; blocks of which the same is wrong share a line."""
        lines: dict[tuple[str, str], list[str]] = {}
        for block, trouble in self._news:
            before, name, after = trouble.partition(str(block))
            lines.setdefault((before, after), []).extend([name] if name else [])
        self._news.clear()
        for (before, after), names in lines.items():
            log.warning("%s%s%s", before, ", ".join(names), after)

    def _note_silence(self, block: Block, error: DriverError, answered: bool) -> None:
        """Of a device that has just answered, it is the block's own; else it is the device's."""
        if answered:
            self._note(block, Quality.NO_ANSWER, error)
        else:
            self._states.setdefault(block, BlockState()).quality = Quality.NO_ANSWER

    def _well(self, block: Block) -> None:
        state = self._states.pop(block)
        if state.fault in ABSENT:
            for other in self._states.values():
                if other.fault in ABSENT:
                    other.until_s = 0.0
        if state.trouble:
            log.info("%s: %s is read again", self.endpoint, block)
