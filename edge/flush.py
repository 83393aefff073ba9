"""From memory to disk: one commit per flush, the state of the computations once a minute, and room for both."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from typing import TypeVar

from edge import wire
from edge.clock import Anchor, Clock
from edge.config import SpoolConfig
from edge.disk import Disk
from edge.pipeline import Pipeline
from edge.rounds import Rest, nobody_asks
from edge.sending import Sender
from edge.spool import Dropped, Entry, Held, Spool, SpoolError, SpoolFullError

log = logging.getLogger(__name__)
T = TypeVar("T")
CHECKPOINT_S = 60.0  # of the agent's clock: how much a start has to replay
MOST_ROWS_IN_MEMORY = 200_000  # while the disk refuses; some 100 MB
MOST_ROWS_PER_COMMIT = 10_000  # of what has gathered in memory
RESERVE = 2**20  # bytes inside the file that are kept free where the disk has no more to give
LEAST_BYTES = 16 * 2**20  # that a spool may have on a disk that is short of room
TRIM_PAGES = 16_384  # at most so many are given back a minute: 16 MiB


class Flusher:
    """Commits what the pipeline has made, and gives rows up where there is no room.

    Args:
        sender: What it has to seal and to free goes with the rows into the same commit.
        turn: Whoever commits what the pipeline has made has it.
        may_checkpoint: Whether all that the computations have seen is on disk, or is being committed here.
    """

    def __init__(
        self, disk: Disk, pipeline: Pipeline, clock: Clock, settings: SpoolConfig, sender: Sender,
        turn: asyncio.Lock, may_checkpoint: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._disk, self._pipeline, self._clock, self._settings = disk, pipeline, clock, settings
        self._sender, self._turn, self._may_checkpoint = sender, turn, may_checkpoint
        self._checkpoint_due_s = time.monotonic() + CHECKPOINT_S / clock.speed
        self._short_of_room = False
        self._anchor: Anchor | None = None  # on disk
        self._telling = 0  # what was dropped up to this number is told by events that wait for their commit
        self.flushed_ns = 0  # all rows up to here are on disk
        self.lost_rows = 0  # that neither disk nor memory could take

    def checkpoint_soon(self) -> None:
        self._checkpoint_due_s = 0.0

    async def run(self, flushed: Callable[[], None], rest: Rest = nobody_asks) -> None:
        while True:
            rest(self._settings.flush_s)
            await asyncio.sleep(self._settings.flush_s)
            if await self.flush():
                flushed()

    async def flush(self, checkpoint: bool = False) -> bool:
        """One commit: the rows since the last one, and once a minute the state they led to. True if it is done."""
        async with self._turn:
            return await self._flush(checkpoint or time.monotonic() >= self._checkpoint_due_s)

    async def _flush(self, checkpoint: bool) -> bool:
        pipeline = self._pipeline
        if not self._telling:
            nothing: list[Dropped] = []
            self._tell(await self._disk.asked(nothing, Spool.untold))
        now_ns = self._clock.now_ns()
        entries, pipeline.entries = _cut(pipeline.entries)
        held, pipeline.held = _cut(pipeline.held)
        receipts = self._sender.take_receipts()
        if not (entries or held or receipts or checkpoint):
            return False
        is_all = not pipeline.entries and self._may_checkpoint()
        state = pipeline.checkpoint() if checkpoint and is_all else None
        told = self._telling if not (pipeline.entries or pipeline.held) else 0
        lanes = self._sender.lanes()
        anchor = self._new_anchor(state is not None)
        commit = self._disk.start(Spool.commit, entries, state, held, 0, told, receipts, lanes, anchor)
        try:
            self._sender.committed(await asyncio.shield(commit), receipts)
        except asyncio.CancelledError:
            await asyncio.wait([commit])  # it must be known whether these rows are on disk
            if commit.exception() is None:
                self._sender.committed(commit.result(), receipts)  # what it sealed is to be sent all the same
            else:
                pipeline.entries, pipeline.held = entries + pipeline.entries, held + pipeline.held
                self._sender.put_back(receipts)
            raise
        except SpoolError as error:
            self._keep(entries, held)
            self._sender.put_back(receipts)
            if isinstance(error, SpoolFullError):
                await self._disk.asked(None, Spool.spend_reserve)
                await self._make_room(
                    RESERVE // 4 + 2 * sum(len(e.line) for e in entries) + 2 * sum(len(h.line) for h in held)
                )
            return False
        self._telling = 0 if told else self._telling
        self._anchor = anchor or self._anchor
        if not pipeline.holding:
            self.flushed_ns = now_ns
        if state is not None:
            self._checkpoint_due_s = time.monotonic() + CHECKPOINT_S / self._clock.speed
        await self._make_room(0)
        if state is not None and not self._short_of_room:
            await self._disk.asked(None, Spool.keep_reserve)
            await self._disk.asked(None, Spool.trim, TRIM_PAGES)
        return True

    def _new_anchor(self, due: bool) -> Anchor | None:
        """Of the clocks, where the disk has none or one of them has stepped since; and with each checkpoint."""
        if not self._clock.known:
            return None
        anchor = self._clock.anchor()
        return anchor if due or self._anchor is None or not anchor.fits(self._anchor) else None

    def _tell(self, dropped: list[Dropped]) -> None:
        """Events, which must be in the commit that takes note of it. Until that is done, nothing more is told."""
        self._telling = max((gone.last for gone in dropped), default=0)
        for gone in dropped:
            span = f"{gone.t_first_ns}-{gone.t_last_ns}"
            log.warning("event=dropped lane=%s rows=%d range_ns=%s", gone.lane, gone.rows, span)
            self._pipeline.take_event(
                "rows_dropped", None, self._clock.now_ns(), rows=gone.rows, text=gone.lane, detail=span
            )

    def _keep(self, entries: list[Entry], held: list[Held]) -> None:
        """The disk refuses: hold the rows in memory, up to a bound."""
        kept: list[Entry | Held] = [*held, *self._pipeline.held, *entries, *self._pipeline.entries]
        if len(kept) > MOST_ROWS_IN_MEMORY:
            surplus = len(kept) - MOST_ROWS_IN_MEMORY
            self.lost_rows += surplus
            log.error("event=rows_lost total=%d reason='disk and memory are full'", self.lost_rows)
            order = sorted(range(len(kept)), key=lambda i: (-wire.LANES.index(kept[i].lane), i))
            gone = set(order[:surplus])  # the oldest detail first, events never before it
            kept = [row for i, row in enumerate(kept) if i not in gone]
        self._pipeline.held = [row for row in kept if isinstance(row, Held)]
        self._pipeline.entries = [row for row in kept if isinstance(row, Entry)]

    async def _make_room(self, least_free: int) -> None:
        """Keep the file below its bound; and where the disk is short, let it grow no further than it has.

        Its own pages stay with it: given back to a disk that something else fills, they would be gone.

        Args:
            least_free: Bytes inside the file that have to be free, since the disk gives none. 0: it does.
        """
        try:
            free = shutil.disk_usage(self._disk.spool.path.parent).free
            size = await self._disk(Spool.file_bytes)
            most = self._settings.max_mib * 2**20
            short = least_free > 0 or free < self._settings.min_free_mib * 2**20
            if least_free:
                most = min(most, size - least_free)
            elif short:
                most = min(most, max(size - RESERVE, LEAST_BYTES))
            if short != self._short_of_room:
                self._short_of_room = short
                log.warning("event=%s free_bytes=%d", "disk_short" if short else "disk_has_room_again", free)
            await self._disk(Spool.make_room, most)
        except (OSError, SpoolError):  # not even room to delete; the disk has told
            return


def _cut(rows: list[T]) -> tuple[list[T], list[T]]:
    """What one commit takes, and the rest."""
    return rows[:MOST_ROWS_PER_COMMIT], rows[MOST_ROWS_PER_COMMIT:]
