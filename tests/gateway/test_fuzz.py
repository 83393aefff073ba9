"""Mutated messages against the intake: nothing crashes it, nothing that is no row is confirmed as stored.

BOLLARD_FUZZ=100000 runs as many payloads; the figure below is what `make test` has time for.
"""

import json
import os
import re
import sqlite3
import zlib
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import pytest
from line_protocol_parser import LineFormatError, parse_line
from mutation import encode, mutated
from shore import FOREVER, GATEWAY, SITE, SPOOL, T, catalogue, minute, row

from edge.wire import (
    COMPUTED,
    EVERY_ROW,
    ORIGINS,
    Catalogue,
    Header,
    Receipt,
    RowLine,
    body_of,
    crc32,
    decode_receipt,
    encode_batch,
    topic,
)
from gateway.book import Book
from gateway.intake import Intake, Message
from gateway.store import open_store

COUNT = int(os.environ.get("BOLLARD_FUZZ", "1000"))
AT_ONCE = 50
BOMB = zlib.compress(bytes(17 * 2**20))
ODD_VALUES = [None, True, 0, -1, 1.5, 2**70, "", "x" * 1000, "\ud800", "\x00", [], {}, [[]], {"a": {}}, [None]]
POINTS = {"power_w": "float", "state": "int", "vessel": "str"}


def odd(tree: Any, random: Random) -> Any:
    """JSON with one node replaced by something that nobody expects there."""
    if random.random() < 0.15 or not isinstance(tree, dict | list) or not tree:
        return random.choice(ODD_VALUES)
    changed = tree.copy()
    at = random.choice(list(tree)) if isinstance(tree, dict) else random.randrange(len(tree))
    changed[at] = odd(tree[at], random)
    return changed


def rows(random: Random, number: int) -> list[RowLine]:
    """Good rows; each batch has its own instants."""
    t = T + number * 1_000_000
    return [
        row(t, power_w=random.uniform(-1e6, 1e6), state=random.randint(-5, 5)),
        row(t + 1, vessel='a "quoted" \\ name, with = and €', q="0f"),
        row(t + 2, power_w=5e-7, clk=0),
        minute(number, 0, random.randint(0, 10**6)),
        row(t + 3, "event", tags={"code": "clock_step", "point": "power_w"}, step_s=2.0, text="x"),
    ]


def wrong_row(random: Random, t_ns: int) -> str:
    """A line that is well formed and wrong."""
    tags = {"site": SITE, "gateway": GATEWAY, "device": "charger-1", "origin": "sim"}
    kind, fields = "charger", "power_w=1.0"
    change = random.randrange(9)
    if change == 0:
        tags[random.choice(["site", "gateway", "device"])] = random.choice(["other", "", "gw-quay-2"])
    elif change == 1:
        tags["origin"] = random.choice(["", "fake", "REAL"])
    elif change == 2:
        fields = random.choice(
            ["power_w=1i", "state=1.0", 'power_w="1.0"', "vessel=1.0", "colour=1i", "power_w=t"]
        )
    elif change == 3:
        fields = random.choice(["power_w=1e999", "power_w=-1e999", "state=9223372036854775808i", "state=1e3i", ""])
    elif change == 4:
        t_ns = random.choice([2**63, -(2**63), 10**19 - 1, -(10**19) + 1])
    elif change == 5:
        kind = random.choice(["", "lock", "x" * 5000, "rows_charger", "charger--", "energy_1m"])
    elif change == 6:
        tags["rev"] = random.choice(["-1", "x", "1e3", "٣"])
        kind, fields = "energy_1m", "import_wh=1i"
    elif change == 7:
        tags["colour"] = "red"
    else:
        fields = ",".join(f"f{n}=1i" for n in range(200))
    line = "".join(f",{name}={value}" for name, value in tags.items() if value)
    return f"{kind}{line} {fields} {t_ns}"


def sealed(number: int, lines: list[str], header: Header | None = None) -> bytes:
    body = body_of(lines)
    return encode_batch(header or Header(SITE, GATEWAY, SPOOL, number, "live", len(lines), crc32(body)), body)


def payload(random: Random, number: int) -> tuple[str, bytes]:
    """A leaf and a message that is wrong in one way or another, or in none."""
    good = [encode(line) for line in rows(random, number)]
    lines = list(good)
    how = random.randrange(10)
    if how == 0:
        return "data", mutated(sealed(number, good), random)
    if how == 1:
        return "data-z", mutated(zlib.compress(sealed(number, good)), random)
    if how == 2:
        return "data-z", zlib.compress(mutated(sealed(number, good), random))
    if how == 3:
        bomb = random.random() < 0.02  # each takes 30 ms to be found out
        return "data-z", BOMB if bomb else random.choice([zlib.compress(b""), b"", sealed(1, good)])
    if how == 4 and random.random() < 0.5:
        return "catalogue", mutated(catalogue(**POINTS).encode(), random)
    if how == 4:
        return "catalogue", json.dumps(odd(json.loads(catalogue(**POINTS).encode()), random)).encode()
    if how == 5:
        head = {"site": SITE, "gateway": GATEWAY, "spool": SPOOL, "lane": "live"}
        head[random.choice(list(head))] = random.choice(["other", "", "a b", "../..", "0" * 36])
        rows_said = random.choice([len(good), 0, 10**9, len(good) + 1])
        header = Header(head["site"], head["gateway"], head["spool"], number, head["lane"], rows_said, "0" * 8)
        return "data", sealed(number, good, header)
    if how in (6, 7):  # a body that was mutated before it was sealed: checksum and count fit
        body = mutated(body_of(good), random)
        header = Header(SITE, GATEWAY, SPOOL, number, "live", body.count(b"\n"), crc32(body))
        return "data", encode_batch(header, body)
    for _ in range(random.randint(0, 4)):
        lines.insert(random.randrange(len(lines) + 1), wrong_row(random, T + number * 1_000_000 + 500))
    random.shuffle(lines)
    return ("data", sealed(number, lines)) if how == 8 else ("data-z", zlib.compress(sealed(number, lines)))


@dataclass
class Confirmed:
    """What receipts said is stored, as another parser reads it: (kind, tags, time) -> fields."""

    rows: dict[tuple[str, tuple[tuple[str, str], ...], int], dict[str, object]] = field(default_factory=dict)

    def add(self, line: str) -> None:
        try:
            plain_line = line.replace("\0", "\1")  # it takes no zero byte and no subnormal number
            seen = parse_line(re.sub(r"=-?[\d.]+[eE]-0*[1-9]\d{2,}", "=0.0", plain_line))
        except LineFormatError as error:
            raise AssertionError(f"confirmed as stored, but is no line protocol: {line!r}: {error}") from error
        types = COMPUTED.get(seen["measurement"], POINTS) | EVERY_ROW
        assert seen["tags"]["site"] == SITE and seen["tags"]["gateway"] == GATEWAY, line
        assert seen["tags"]["origin"] in ORIGINS, line
        for name, value in seen["fields"].items():
            assert isinstance(value, {"int": int, "float": float, "str": str}[types[name]]), (name, line)
            assert not isinstance(value, float) or abs(value) < float("inf"), line
        key = (seen["measurement"], tuple(sorted(seen["tags"].items())), seen["time"])
        self.rows.setdefault(key, {}).update(seen["fields"])


def plain(message: Message) -> bytes:
    if not message.topic.endswith("/data-z"):
        return message.payload
    return zlib.decompressobj().decompress(message.payload, 2**20)


def test_no_payload_crashes_the_intake_and_no_garbage_is_confirmed(tmp_path: Path) -> None:
    random, confirmed, reasons = Random(20261121), Confirmed(), Counter[str]()
    with closing(open_store(f"sqlite:{tmp_path / 's.db'}")) as store, closing(Book(tmp_path / "b.db")) as book:
        intake = Intake(store, book)
        first = catalogue(**POINTS)
        intake.take([Message(topic(SITE, GATEWAY, "catalogue"), first.encode())])
        counters = intake.counters
        for start in range(0, COUNT, AT_ONCE):
            made = [payload(random, number) for number in range(start, start + AT_ONCE)]
            group = [Message(topic(SITE, GATEWAY, leaf), content) for leaf, content in made]
            before = counters.malformed + counters.catalogues
            receipts = [decode_receipt(message.payload) for message in intake.take(group)]
            assert len(receipts) + counters.malformed + counters.catalogues - before == AT_ONCE
            _look_at(receipts, group, confirmed, reasons)
            if (
                counters.catalogues > 1
            ):  # a mutation that still describes points: they would be allowed from now on
                counters.catalogues = 1
                _forget_other_catalogues(intake, tmp_path, first)
        noted = book.malformed()
        assert all(message.reason and message.times for message in noted)
        assert sum(reasons.values()) == counters.refused and all(row.reason for row in book.refused())
        _compare(confirmed, store)
    print(f"{COUNT} payloads: {counters}; {len(reasons)} reasons")
    assert counters.stored > COUNT // 4 and counters.refused > COUNT // 20 and counters.malformed > COUNT // 5


def _look_at(receipts: list[Receipt], group: list[Message], confirmed: Confirmed, reasons: Counter[str]) -> None:
    """Each receipt answers a message of this group, byte for byte, and has a reason for each row it refuses."""
    bodies = {}
    for message in group:
        try:
            head, _, body = plain(message).partition(b"\n")
        except zlib.error:
            continue
        bodies.setdefault((head.partition(b" batch=")[2].split(b" ")[0], crc32(body)), body)
    for receipt in receipts:
        body = bodies[str(receipt.batch).encode(), receipt.crc32]
        lines = body.decode().split("\n")[:-1]
        assert receipt.stored + len(receipt.refused) == len(lines)
        refused = dict(receipt.refused)
        assert len(refused) == len(receipt.refused) and all(refused.values())
        reasons.update(refused.values())
        for number, line in enumerate(lines):
            if number not in refused:
                confirmed.add(line)


def _forget_other_catalogues(intake: Intake, folder: Path, first: Catalogue) -> None:
    with closing(sqlite3.connect(folder / "b.db")) as db, db:
        db.execute("DELETE FROM catalogue WHERE json != ?", (first.encode(),))
    intake.take([Message(topic(SITE, GATEWAY, "catalogue"), first.encode())])
    intake.counters.catalogues = 1


def _compare(confirmed: Confirmed, store: object) -> None:
    """Every row that was confirmed is in the store with its values, and nothing else is."""
    held = sum(series.rows for series in store.series())  # type: ignore[attr-defined]
    assert held == len(confirmed.rows)
    for kind in {kind for kind, _, _ in confirmed.rows}:
        names = list(COMPUTED.get(kind, POINTS) | EVERY_ROW)
        columns = store.columns(kind, None, names, *FOREVER, all_revisions=True)  # type: ignore[attr-defined]
        found: dict[tuple[str, tuple[tuple[str, str], ...], int], int] = {}
        for i in range(len(columns)):
            tags = tuple(sorted((tag, column[i]) for tag, column in columns.tags.items() if column[i]))
            found[kind, tags, int(columns.t_ns[i])] = i
        for key, fields in confirmed.rows.items():
            if key[0] != kind:
                continue
            i = found[key]
            for name, value in fields.items():
                seen = columns.text[name][i] if isinstance(value, str) else columns[name][i]
                assert _same(seen, value), (key, name, value, seen)


def _same(seen: Any, value: object) -> bool:
    """Our wire writes a line break as backslash n, which the other parser leaves alone; "" is no text."""
    if isinstance(value, str):
        text = (seen or "").replace("\0", "\1")
        return text in (value, value.replace("\\n", "\n"))  # it cannot tell a line break from an escaped backslash
    return bool(seen == value or (isinstance(value, float) and abs(seen - value) < 1e-99))


HURTFUL = {
    "deep": b"[" * 100_000,
    "long number": b'{"version":' + b"9" * 10_000 + b"}",
    "half a character": catalogue().encode().replace(b'"charger-1"', b'"\\ud800"'),
    "a table as hash": catalogue().encode().replace(b'"f00d"', b'{"a":1}'),
    "a table as name": catalogue().encode().replace(b'"charger-1"', b"{}"),
    "a list as kind": catalogue().encode().replace(b'"charger"', b"[]"),
    "a number as point": catalogue().encode().replace(b'"power_w"', b"1"),
    "a list as type": catalogue().encode().replace(b'"float"', b"[]"),
    "infinite version": catalogue().encode().replace(b'"version":1', b'"version":1e999'),
}


@pytest.mark.parametrize("name", HURTFUL)
def test_a_catalogue_built_to_hurt_is_one_refusal(tmp_path: Path, name: str) -> None:
    with closing(open_store(f"sqlite:{tmp_path / 's.db'}")) as store, closing(Book(tmp_path / "b.db")) as book:
        intake = Intake(store, book)
        assert intake.take([Message(topic(SITE, GATEWAY, "catalogue"), HURTFUL[name])]) == []
        assert (intake.counters.malformed, intake.counters.catalogues) == (1, 0)
        assert book.catalogues() == [] and len(book.malformed()[0].reason) < 300
        good = row(T, power_w=1.0)
        assert intake.take([Message(topic(SITE, GATEWAY, "data"), sealed(1, [encode(good)]))]) == []
