"""Which batch goes next: what is new comes before what has waited, and what has waited keeps to its pace.

Rows that were taken while nobody listened are sealed into whole batches all the same: they take a tenth of the
room, and are ready when somebody does. A batch without a receipt is sent again after `resend_s`, and at each
reconnect.
"""

import time
from collections.abc import Callable

from edge import wire
from edge.config import BrokerConfig
from edge.disk import Disk
from edge.spool import BYTES_IN_BATCH, ROWS_IN_BATCH, Batch, Committed, Spool
from edge.uplink import Uplink

DETAIL_EVERY_S = 5.0  # real seconds that detail rows are collected for one batch
MOST_BACKLOG = 8  # batches of the backlog under way at once: what is new waits behind no more than these
FRESH_SHARE = 4  # and a quarter of the window is for what is new


class Pace:
    """So many bytes a second, in the long run; 0: as many as there are. A second's worth may go at once."""

    def __init__(self, bytes_per_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._now_s = bytes_per_s, now_s
        self._left, self._at_s = bytes_per_s, now_s()

    def allows(self) -> bool:
        now_s = self._now_s()
        self._left = min(self._rate, self._left + (now_s - self._at_s) * self._rate)
        self._at_s = now_s
        return self._rate == 0 or self._left > 0

    def spent(self, size: int) -> None:
        self._left -= size

    def wait_s(self) -> float:
        """Until it allows the next one. [s]"""
        return max(0.0, -self._left / self._rate) if self._rate else 0.0


class Sender:
    """Says what is to be sealed with the next commit, and sends; knows how far a backlog has been sent."""

    def __init__(self, disk: Disk, uplink: Uplink, broker: BrokerConfig) -> None:
        self._disk, self._uplink = disk, uplink
        self._pace = Pace(broker.drain_kib_s * 1024.0)
        kept_free = max(1, broker.window // FRESH_SHARE)
        self._most_backlog = max(1, min(MOST_BACKLOG, broker.window - kept_free))
        self._every_s = dict.fromkeys(wire.LANES, broker.collect_s) | {
            "events": 0.0, "detail": max(broker.collect_s, DETAIL_EVERY_S),
        }  # fmt: skip
        self._due_s = dict.fromkeys(wire.LANES, 0.0)
        self._receipts: list[wire.Receipt] = []  # whose batches the spool has not freed yet
        self._freeing: set[int] = set()  # these batches
        self.begin_again()

    def begin_again(self) -> None:
        """A new connection, or another spool: nothing is under way, all that waits is backlog."""
        self._freeing.clear()
        self._sent_to: dict[str, int] = {}  # per lane: the backlog is sent up to this batch
        self._backlog: set[int] = set()  # batches of it that are under way
        self._rest = True  # of the backlog there may be more
        self._loose = True  # rows may be there that no commit has sealed

    # With each commit.

    def lanes(self) -> tuple[wire.Lane, ...]:
        """Whose rows are to be sealed and sent now."""
        now_s = time.monotonic()
        if self._uplink.room() < len(wire.LANES):
            self._loose = True
            return ()
        due = tuple(lane for lane in wire.LANES if now_s >= self._due_s[lane])
        self._due_s |= {lane: now_s + self._every_s[lane] for lane in due}
        return due

    def receive(self, receipt: wire.Receipt) -> None:
        """What the shore confirms makes room at once; the spool frees it with its next commit."""
        if receipt.spool != self._disk.spool.id:  # of a file that was replaced
            return
        self._receipts.append(receipt)
        self._freeing.add(receipt.batch)
        self._uplink.confirmed(receipt.batch)
        self._backlog.discard(receipt.batch)

    def take_receipts(self) -> list[wire.Receipt]:
        taken, self._receipts = self._receipts, []
        return taken

    def put_back(self, receipts: list[wire.Receipt]) -> None:
        """The commit has failed."""
        self._receipts = receipts + self._receipts

    def committed(self, done: Committed, receipts: list[wire.Receipt]) -> None:
        self._freeing -= {receipt.batch for receipt in receipts}
        for batch in done.sealed:
            self._send(batch)
            self._loose = self._loose or batch.rows >= ROWS_IN_BATCH
        if len(done.freed) < len(receipts):  # one that does not fit, or came twice: look what is left
            self._sent_to, self._rest = {}, True

    # In between.

    def hurry(self) -> None:
        """At a stop nothing more comes: what is on disk and would be collected for a fuller batch goes now."""
        self._loose = True

    async def turn(self) -> float:
        """Send what is due, within all bounds. Returns: when to come again at the latest. [s]

        Raises: SpoolError; what was not sent is tried with the next turn.
        """
        await self._send_again()
        await self._send_loose()
        await self._send_backlog()
        await self._seal_what_must_wait()
        return self._pace.wait_s() if self._rest else 1.0

    async def _send_again(self) -> None:
        for number in self._uplink.overdue():
            batch = await self._disk(Spool.batch, number)
            if batch is None:
                self._uplink.confirmed(number)
                self._backlog.discard(number)
            else:
                self._uplink.send(batch, self._disk.spool.id)

    async def _send_loose(self) -> None:
        """Rows that came while there was no room, or more than fit into a batch."""
        if not self._loose:
            return
        for lane in wire.LANES:
            while True:
                if self._uplink.room() <= 0:
                    return
                sealed = await self._disk(Spool.seal, lane, ROWS_IN_BATCH)
                if sealed is None:
                    break
                self._send(sealed)
        self._loose = False

    async def _send_backlog(self) -> None:
        """What waited when the connection began, or had no room since: lane by lane, oldest first."""
        if not self._rest:
            return
        for lane in wire.LANES:
            while True:
                if self._uplink.room() <= 0 or len(self._backlog) >= self._most_backlog or not self._pace.allows():
                    return
                number = await self._disk(Spool.next_waiting, lane, self._sent_to.get(lane, 0))
                if number is None:
                    break
                self._sent_to[lane] = number
                is_done = self._uplink.is_under_way(number) or number in self._freeing
                batch = None if is_done else await self._disk(Spool.batch, number)
                if batch is not None:
                    self._backlog.add(number)
                    self._pace.spent(self._send(batch))
        self._rest = False

    async def _seal_what_must_wait(self) -> None:
        for lane in wire.LANES:
            while self._uplink.room() <= 0:
                sealed = await self._disk(Spool.seal, lane, ROWS_IN_BATCH, BYTES_IN_BATCH, ROWS_IN_BATCH)
                if sealed is None:
                    break
                self._rest = True

    def _send(self, batch: Batch) -> int:
        """Returns: bytes on their way. A connection that has just gone sends it again when it is back."""
        return self._uplink.send(batch, self._disk.spool.id)
