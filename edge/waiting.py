"""Rows wait until somebody knows what time it is, and then get their times.

After a boot the wall clock may say anything. Until the kernel holds it for synchronised, rows are kept on disk
with the boot's id and the monotonic clock, which is right about all that matters but the date. Then they are
stamped and computed with in the order in which they came. Of rows of an earlier boot in which nobody ever knew the
time only order and distances are known: they are kept, marked `clk=0`, and nothing is computed of them.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from edge.clock import Anchor, Clock
from edge.disk import Disk
from edge.pipeline import Pipeline
from edge.rounds import Rest, nobody_asks
from edge.spool import Entry, Held, HeldBoot, Spool, SpoolError, SpoolFullError

log = logging.getLogger(__name__)
NS = 1_000_000_000
LOOK_S = 1.0
AT_ONCE = 500
GRACE_S = 120.0  # in which a row may still come with the time that was told before


@dataclass(frozen=True, slots=True)
class Placed:
    """Where the rows of a boot belong: UTC minus the monotonic clock, and whether that is more than a guess."""

    offset_ns: int
    is_known: bool


def placed(boots: Iterable[HeldBoot], anchors: dict[str, int], begin_ns: int, newest_ns: int) -> dict[str, Placed]:
    """Give each boot its place in time.

    A boot that nobody knows the time of lies between the newest row that has one and the begin of the next boot.
    If what its wall clock said lies there, that is taken; else it is put as late as it can have been.

    Args:
        boots: In the order in which they were.
        anchors: Boot -> UTC minus monotonic clock, where that is known. [ns]
        begin_ns: When the present boot began. [ns, UTC]
        newest_ns: Of all rows that have a time. [ns, UTC]
    """
    found: dict[str, Placed] = {}
    for boot in reversed(list(boots)):
        if boot.boot in anchors:
            found[boot.boot] = Placed(anchors[boot.boot], True)
        else:
            first_ns, last_ns = boot.first_ns + boot.wall_ns, boot.last_ns + boot.wall_ns
            fits = newest_ns < first_ns and last_ns < begin_ns
            found[boot.boot] = Placed(boot.wall_ns if fits else begin_ns - 1 - boot.last_ns, False)
        begin_ns = min(begin_ns, found[boot.boot].offset_ns)  # where its monotonic clock was 0
    return found


class Waiting:
    """Holds rows while the clock is not known, and lets them go once it is.

    Args:
        shift: Told, in the instant in which the clock gets known, by how much its times were wrong. [ns]
        turn: Whoever commits what the pipeline has made has it.
        rest: Is told of each wait, and between two parts of what has waited.
    """

    def __init__(
        self, clock: Clock, pipeline: Pipeline, disk: Disk, turn: asyncio.Lock, shift: Callable[[int], None],
        rest: Rest = nobody_asks,
    ) -> None:  # fmt: skip
        self._clock, self._pipeline, self._disk = clock, pipeline, disk
        self._turn, self._shift, self._rest = turn, shift, rest
        self._anchors: dict[str, int] = {}
        self._last: Anchor | None = None  # on disk when we came
        self._since_ns = 0
        self._shifted_ns, self._shifted_at_ns = 0, 0
        self.torn = False  # the computations have seen rows that still wait on disk: no checkpoint now

    async def begin(self, require: bool) -> None:
        """Find out whether rows have to wait. Before any is taken."""
        clock = self._clock
        self._since_ns = clock.mono_ns()
        anchor = self._last = await self._disk.insist(Spool.anchor)
        if anchor is not None:
            self._anchors[anchor.boot] = anchor.offset_ns
        if require and not clock.trusted() and clock.boot_id() not in self._anchors:
            clock.wait()
            self._pipeline.hold(clock.boot_id(), clock.now_ns() - clock.mono_ns())
            log.warning(
                "event=clock_waits reason='no time server has set this machine's clock since it booted;"
                " rows are kept until then (on a network without one: [clock] require = false)'"
            )
            return
        self._go_on(0)
        if await self._disk.insist(Spool.held_count):
            await self._know()

    async def run(self) -> None:
        """Look whether the clock has been set; then let go what waits."""
        while True:
            await self.look()
            self._rest(LOOK_S)
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        clock = self._clock
        if not clock.known and clock.trusted():
            waited_ns = await self._waited_ns()
            before_ns = clock.now_ns()
            clock.settle()
            self._go_on(waited_ns)
            self._shifted_at_ns = clock.mono_ns()
            self._shifted_ns = clock.now_ns() - before_ns
            self._shift(self._shifted_ns)
            self._pipeline.trusted = True
            await self._know()
        if clock.known and self._pipeline.holding:
            await self._release()

    async def _waited_ns(self) -> int:
        """Since the first row of this boot that waits: all of them come after those that have a time."""
        boots = await self._disk.insist(Spool.held_boots)
        firsts = [boot.first_ns for boot in boots if boot.boot == self._clock.boot_id()]
        return self._clock.mono_ns() - min([*firsts, self._since_ns])

    def _go_on(self, waited_ns: int) -> None:
        """Never before a row that is there, and as long after the last ones as nobody was there."""
        newest_ns = self._pipeline.newest_ns()
        self._clock.go_on(self._last, newest_ns + waited_ns if newest_ns else 0)

    async def _know(self) -> None:
        """From here on rows have a time; yet they wait behind those that are there."""
        clock, boot = self._clock, self._clock.boot_id()
        anchor = clock.anchor()
        self._anchors[boot] = anchor.offset_ns
        self._pipeline.hold(boot, anchor.offset_ns)
        await self._disk.insist(Spool.set_anchor, anchor)

    def corrected_ns(self, t_ns: int) -> int:
        """A time that was told before the clock was known, and comes only now, as some protocols do it."""
        if not self._shifted_ns or self._clock.mono_ns() - self._shifted_at_ns > GRACE_S * NS:
            return t_ns
        now_ns = self._clock.now_ns()
        return min(t_ns, t_ns + self._shifted_ns, key=lambda time_ns: abs(now_ns - time_ns))

    async def _release(self) -> None:
        pipeline, clock = self._pipeline, self._clock
        waited_s = (clock.mono_ns() - self._since_ns) / NS
        boots = await self._disk.insist(Spool.held_boots)
        begin_ns = self._anchors[clock.boot_id()]
        here = {clock.boot_id(): Placed(begin_ns, True)}  # its rows may come to disk only while others are let go
        places = placed(boots, self._anchors, begin_ns, pipeline.newest_ns()) | here
        rows = 0
        while True:
            self._rest(0.0)
            async with self._turn:
                held = await self._disk.insist(Spool.held, AT_ONCE)
                if not held:
                    break
                await self._commit(pipeline.release(_stamped(held, places)), held[-1].seq)
                rows += len(held)
        rest, pipeline.held = pipeline.held, []  # never were on disk; nothing can come between here and the end
        rows += len(rest)
        pipeline.entries += pipeline.release(_stamped(rest, places))
        pipeline.end_hold()
        log.info("event=clock_known waited_s=%.0f rows=%d shift_s=%.3f", waited_s, rows, self._shifted_ns / NS)
        now_ns = clock.now_ns()
        pipeline.take_event("clock_known", None, now_ns, rows=rows, lasted_s=waited_s)
        for boot in boots:
            place = places[boot.boot]
            if not place.is_known:
                span = f"{boot.first_ns + place.offset_ns}-{boot.last_ns + place.offset_ns}"
                pipeline.take_event("rows_without_time", None, now_ns, rows=boot.rows, text=boot.boot, detail=span)

    async def _commit(self, made: list[Entry], released: int) -> None:
        """They must be on disk before anything else: the computations have seen them."""
        self.torn = True
        while self.torn:
            commit = self._disk.start(Spool.commit, made, None, (), released)
            try:
                await asyncio.shield(commit)
                self.torn = False
            except asyncio.CancelledError:
                await asyncio.wait([commit])
                self.torn = commit.exception() is not None
                raise
            except SpoolError as error:
                if isinstance(error, SpoolFullError):  # no rows are dropped here: these have been computed with
                    await self._disk.asked(None, Spool.spend_reserve)
                self._rest(LOOK_S)
                await asyncio.sleep(LOOK_S)


def _stamped(held: Iterable[Held], places: dict[str, Placed]) -> Iterator[tuple[Held, int, bool]]:
    for row in held:
        place = places[row.boot]
        yield row, row.mono_ns + place.offset_ns, place.is_known
