"""What happens to a message ashore: read, check, store, note, confirm. No network, no event loop, no clock."""

import logging
import re
from collections import OrderedDict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import get_args

from edge.wire import (
    NAME,
    Catalogue,
    FieldType,
    Header,
    Receipt,
    RowLine,
    WireError,
    decode_batch,
    decode_catalogue,
    decode_row,
    inflate,
    parse_topic,
    topic,
)
from gateway.book import Book
from gateway.store.base import Store, Types

TYPES = get_args(FieldType)
Gateway = tuple[str, str]  # site, gateway
WAITING_KEPT = 512  # batches without a catalogue, of all gateways; the edge sends again what is dropped
SHAPES_KEPT = 5000  # of a gateway: its devices, times vessels and codes of events
REMEMBERED = 20_000  # batches, to tell a resent one in the counters

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Message:
    """As MQTT delivered it."""

    topic: str
    payload: bytes


@dataclass(slots=True)
class Counters:
    """What ingest has done since it started. `waiting` is a level, the others only grow."""

    batches: int = 0  # confirmed, repetitions included
    again: int = 0  # of these: confirmed before, sent again
    stored: int = 0  # rows now durable, repetitions included
    refused: int = 0  # rows in the book instead
    malformed: int = 0  # messages that are no batch or catalogue: not confirmed
    forged: int = 0  # messages and rows that name another gateway than their topic
    catalogues: int = 0
    waiting: int = 0  # batches whose gateway has not sent a catalogue yet
    dropped: int = 0  # messages let go because a queue was full; the edge sends them again
    repeated: int = 0  # messages that came again while the first still waited
    retries: int = 0  # writes repeated because store or book were not available

    def since(self, earlier: "Counters") -> dict[str, int]:
        """What was added since then, by name; without the level."""
        before = asdict(earlier)
        return {name: value - before[name] for name, value in asdict(self).items() if name != "waiting"}

    def __str__(self) -> str:
        return " ".join(f"{name}={value}" for name, value in asdict(self).items())


class ForgedError(WireError):
    """A message speaks for another gateway than the one whose topic it came by."""


@dataclass(slots=True)
class _Batch:
    header: Header
    lines: list[str]
    rows: list[RowLine | str] = field(default_factory=list)  # those that could be read
    numbers: list[int] = field(default_factory=list)  # the line that each of them stood on
    refused: list[tuple[int, str]] = field(default_factory=list)
    forged: int = 0


class Intake:
    """Turns messages into stored rows and receipts.

    Args:
        production: Take rows of origin `real` only.
        sites: Sites that are taken; empty means all.
    """

    def __init__(self, store: Store, book: Book, *, production: bool = False, sites: Collection[str] = ()) -> None:
        self.counters = Counters()
        self._store, self._book = store, book
        self._origins = ("real",) if production else None
        self._sites = frozenset(sites)
        self._heard: set[Gateway] = set()
        self._types: dict[Gateway, Types] = {}
        self._waiting: deque[tuple[Gateway, Message]] = deque()
        self._shapes: dict[Gateway, dict[str, re.Pattern[str]]] = {}  # beginning of a line -> the rest of it
        self._confirmed: OrderedDict[tuple[str, str, str, int], None] = OrderedDict()

    def take(self, messages: Sequence[Message]) -> list[Message]:
        """Process messages; return the receipts to publish.

        When this returns, every row of a confirmed batch is durable in the store, or in the book with its
        reason. A batch is not confirmed if it cannot be read, or while its gateway's catalogue is missing.

        Raises: StoreUnavailable; then call again with the same messages, nothing has been counted.
            StoreError.
        """
        counters, nonsense = Counters(**asdict(self.counters)), list[tuple[Message, WireError]]()
        learned = self._learn(messages, counters, nonsense)
        released = [message for gateway, message in self._waiting if gateway in learned]
        waiting = deque((g, message) for g, message in self._waiting if g not in learned)
        batches: dict[Gateway, list[_Batch]] = {}
        for message in [*released, *(m for m in messages if not _is_catalogue(m))]:
            try:
                batch = self._read(message)
            except WireError as error:
                nonsense.append((message, error))
                continue
            gateway = (batch.header.site, batch.header.gateway)
            if self._types_of(gateway) is None:
                waiting.append((gateway, message))
            else:
                batches.setdefault(gateway, []).append(batch)
        receipts = [r for gateway, group in batches.items() for r in self._settle(gateway, group, counters)]
        self._note(nonsense, counters)
        while len(waiting) > WAITING_KEPT:
            waiting.popleft()
            counters.dropped += 1
        counters.again += sum(self._seen_before(b.header) for group in batches.values() for b in group)
        self._waiting, counters.waiting = waiting, len(waiting)
        for name, value in asdict(counters).items():  # in place: others hold the object
            setattr(self.counters, name, value)
        return receipts

    def _learn(
        self, messages: Iterable[Message], counters: Counters, nonsense: list[tuple[Message, WireError]]
    ) -> set[Gateway]:
        """Keep the catalogues among the messages. Returns whose they are."""
        learned = set()
        for message in filter(_is_catalogue, messages):
            try:
                site, gateway, _ = parse_topic(message.topic)
                catalogue = decode_catalogue(message.payload)
                self._check_sender((site, gateway), catalogue.site, catalogue.gateway)
                _check_catalogue(catalogue)
                self._book.put_catalogue(catalogue)
            except WireError as error:
                nonsense.append((message, error))
            else:
                if (site, gateway) not in self._heard:
                    self._heard.add((site, gateway))
                    log.info(
                        "site=%s gateway=%s: catalogue heard, %d devices", site, gateway, len(catalogue.devices)
                    )
                self._types.pop((site, gateway), None)
                self._shapes.pop((site, gateway), None)
                learned.add((site, gateway))
                counters.catalogues += 1
        return learned

    def _types_of(self, gateway: Gateway) -> Types | None:
        types: Types | None = self._types.get(gateway)
        if types is None:
            types = self._book.field_types(*gateway)
            if types is not None:
                self._types[gateway] = types
        return types

    def _check_sender(self, expected: Gateway, site: str, gateway: str) -> None:
        if (site, gateway) != expected:
            raise ForgedError(f"speaks for {site}/{gateway}, its topic is that of {expected[0]}/{expected[1]}")
        if self._sites and site not in self._sites:
            raise WireError(
                f"site {site!r} is not in `sites` of the shore file ({', '.join(sorted(self._sites))}); add it"
            )

    def _read(self, message: Message) -> _Batch:
        """Raises: WireError if the whole message is to be left unconfirmed."""
        site, gateway, leaf = parse_topic(message.topic)
        header, lines = decode_batch(inflate(message.payload) if leaf == "data-z" else message.payload)
        self._check_sender((site, gateway), header.site, header.gateway)
        batch = _Batch(header, lines)
        shapes = self._shapes.setdefault((site, gateway), {}) if (site, gateway) in self._types else {}
        for number, line in enumerate(lines):
            head, _, rest = line.partition(" ")
            shape = shapes.get(head)
            if shape is not None and shape.fullmatch(rest) is not None:  # as most rows of a fleet do
                batch.rows.append(line)
                batch.numbers.append(number)
                continue
            try:
                row = decode_row(line)
                check_row(row, (header.site, header.gateway), self._origins)
            except WireError as error:
                batch.refused.append((number, str(error)))
                batch.forged += isinstance(error, ForgedError)
            else:
                batch.rows.append(row)
                batch.numbers.append(number)
                self._learn_shape(shapes, head, row, (site, gateway))
        return batch

    def _learn_shape(self, shapes: dict[str, re.Pattern[str]], head: str, row: RowLine, gateway: Gateway) -> None:
        """Rows that begin like this good one may be known by their text from now on."""
        types = self._types.get(gateway)
        shape = self._store.pattern(row, types) if types is not None else None
        if shape is not None:
            if len(shapes) >= SHAPES_KEPT:
                shapes.clear()
            shapes[head] = shape

    def _settle(self, gateway: Gateway, batches: Sequence[_Batch], counters: Counters) -> Iterator[Message]:
        """Make a gateway's batches durable in one write, then give a receipt for each."""
        owners = [(batch, number) for batch in batches for number in batch.numbers]
        rows = [row for batch in batches for row in batch.rows]
        reasons: dict[int, list[tuple[int, str]]] = {id(batch): list(batch.refused) for batch in batches}
        if rows:
            for position, reason in self._store.write(rows, self._types[gateway]):
                batch, number = owners[position]
                reasons[id(batch)].append((number, reason))
        notes = [
            (batch.header, [(n, batch.lines[n], reason) for n, reason in reasons[id(batch)]])
            for batch in batches
            if reasons[id(batch)]
        ]
        if notes:  # before the receipts: they let the edge forget the rows
            self._book.refuse(notes)
        for batch in batches:
            refused = tuple(sorted(reasons[id(batch)]))
            stored = batch.header.rows - len(refused)
            counters.batches += 1
            counters.stored += stored
            counters.refused += len(refused)
            counters.forged += batch.forged
            h = batch.header
            receipt = Receipt(h.spool, h.batch, h.crc32, stored, refused)
            yield Message(topic(h.site, h.gateway, "receipt"), receipt.encode())

    def _seen_before(self, header: Header) -> bool:
        key = (header.site, header.gateway, header.spool, header.batch)
        seen = key in self._confirmed
        self._confirmed[key] = None
        self._confirmed.move_to_end(key)
        if len(self._confirmed) > REMEMBERED:
            self._confirmed.popitem(last=False)
        return seen

    def _note(self, nonsense: Sequence[tuple[Message, WireError]], counters: Counters) -> None:
        if not nonsense:
            return
        new = self._book.note_malformed(
            (message.topic, message.payload, str(error)) for message, error in nonsense
        )
        for (message, error), is_new in zip(nonsense, new, strict=True):
            if is_new:
                log.warning("%s: %s", message.topic, error)
            counters.malformed += 1
            counters.forged += isinstance(error, ForgedError)


def check_row(row: RowLine, sender: Gateway, origins: tuple[str, ...] | None) -> None:
    """Whether this gateway may send this row at all; `origins`: those that are taken, None: every one.

    Raises: ForgedError, WireError.
    """
    site, gateway = row.tags.get("site"), row.tags.get("gateway")
    if (site, gateway) != sender:
        raise ForgedError(f"row of {site}/{gateway} in a batch of {sender[0]}/{sender[1]}")
    origin = row.tags.get("origin")
    if origins is not None and origin not in origins:
        raise WireError(f"origin {origin!r}: a production shore takes {', '.join(origins)} only")


def _check_catalogue(catalogue: Catalogue) -> None:
    """The book keeps what passes here and every later start relies on it. Raises: WireError."""
    try:
        types = catalogue.field_types()
        names = [name for key, fields in types.items() for name in (*key, *fields)]
        bad = [(name, kind) for fields in types.values() for name, kind in fields.items() if kind not in TYPES]
    except (KeyError, TypeError, AttributeError) as error:
        raise WireError(
            f"catalogue: a device or point is not described as it should be: {error!r:.100}"
        ) from error
    odd = next((name for name in names if not isinstance(name, str) or NAME.fullmatch(name) is None), None)
    if odd is not None:
        raise WireError(f"catalogue: name {odd!r:.60} does not match [a-z0-9_-]+")
    if bad:
        raise WireError(f"catalogue: type {bad[0][1]!r:.60} of {bad[0][0]!r} is not one of {', '.join(TYPES)}")
    if not isinstance(catalogue.settings, Mapping):
        raise WireError(f"catalogue: settings {catalogue.settings!r:.60} are no table")


def _is_catalogue(message: Message) -> bool:
    return message.topic.endswith("/catalogue")
