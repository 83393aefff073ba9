"""Rows that go to InfluxDB as text: whatever a pattern lets through, the slow and exact way would take as well."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest
from mutation import encode, mutated
from servers.influx import TOKEN, InfluxServer
from shore import FOREVER, GATEWAY, SITE, T, batch, catalogue, row

from edge.wire import EVERY_ROW, FieldType, WireError, decode_receipt, decode_row, topic
from gateway.book import Book
from gateway.intake import Intake, Message
from gateway.store import open_store
from gateway.store.base import cannot_be_stored
from gateway.store.pattern import pattern_of

FIELDS: dict[str, FieldType] = {"power_w": "float", "state": "int", "berth": "str"}
TYPES = catalogue(**FIELDS).field_types()
GOOD = [
    row(T, power_w=1.5, state=-7, berth="berth 6, north = left"),
    row(T, power_w=-1e-7, q="0f"),
    row(T, state=999_999_999_999_999_999, clk=0),
    row(-1, power_w=1e16),
]


def pattern(**pinned: FieldType) -> re.Pattern[str]:
    made = pattern_of({**FIELDS, **EVERY_ROW}, pinned or {**FIELDS, **EVERY_ROW})
    assert made is not None
    return made


def rests() -> Iterator[str]:
    for good in GOOD:
        yield encode(good).partition(" ")[2]


def test_what_the_edge_writes_matches() -> None:
    assert all(pattern().fullmatch(rest) for rest in rests())


@pytest.mark.parametrize(
    "rest",
    ["power_w=1.0", "power_w=1.0, 1", "power_w=1.0 ", " 1", "power_w=1i 1", "state=1 1", "state=1.0 1",
     "colour=1i 1", "power_w=1.0,power_w=2.0 1", "power_w=nan 1", "power_w=1e999 1", "power_w=1e100 1",
     "state=1234567890123456789i 1", "power_w=1.0 9223372036854775807", "power_w=1.0 ١", 'berth="a\nb" 1',
     'berth="a\\" 1', "power_w=1.0  1", "power_w=1.0 1 1", "power_w=1.0 1\n", "power_w=+1.0 1", "power_w=.5 1",
     'berth="a"b" 1'],
)  # fmt: skip
def test_what_is_odd_goes_the_slow_way(rest: str) -> None:
    assert pattern().fullmatch(rest) is None


def test_a_field_whose_type_is_not_pinned_goes_the_slow_way() -> None:
    assert pattern(power_w="float").fullmatch("power_w=1.0 1")
    assert pattern(power_w="float").fullmatch("state=1i 1") is None
    assert pattern(power_w="float", state="float").fullmatch("state=1i 1") is None
    assert pattern_of(FIELDS, {}) is None
    assert pattern_of({"vessel": "str"}, {"vessel": "str"}) is None  # it is stored by another name


def test_whatever_matches_can_be_stored() -> None:
    random, matched = Random(20261121), 0
    known = pattern()
    for number in range(20_000):
        line = encode(GOOD[number % len(GOOD)])
        head, _, rest = line.partition(" ")
        text = mutated(rest.encode(), random).decode("utf-8", "replace")
        if "\n" in text or known.fullmatch(text) is None:
            continue
        matched += 1
        try:
            problem = cannot_be_stored(decode_row(f"{head} {text}"), TYPES)
        except WireError as error:
            problem = str(error)
        assert problem is None, text
    assert matched > 1000


@pytest.mark.influx
def test_both_ways_store_the_same(influx_server: InfluxServer, tmp_path: Path) -> None:
    """A batch is sent before its series is known and after; the later row of an instant wins, whichever way."""
    url = influx_server.access.store_url(f"way-{tmp_path.name[-12:].strip('_').replace('_', '-')}")
    rows = [row(T + n, power_w=n / 7, state=n, berth=f"b {n}") for n in range(20)]
    with closing(open_store(url, token=TOKEN)) as store, closing(Book(tmp_path / "b.db")) as book:
        store.remember_types(book)
        intake = Intake(store, book)
        intake.take([Message(topic(SITE, GATEWAY, "catalogue"), catalogue(**FIELDS).encode())])
        for number, part in enumerate((rows[:10], rows[:1], rows[10:])):
            intake.take([Message(topic(SITE, GATEWAY, "data"), batch(number, list(part)))])
        assert intake._shapes[SITE, GATEWAY]
        last = [row(T, power_w=1.0), row(T, power_w=2.0, berth='"'), row(T, power_w=3.0), row(T + 1, colour=1)]
        receipt = decode_receipt(
            intake.take([Message(topic(SITE, GATEWAY, "data"), batch(9, list(last)))])[0].payload
        )
        assert (receipt.stored, [number for number, _ in receipt.refused]) == (3, [3])
        held = store.columns("charger", "charger-1", ("power_w", "state", "berth"), *FOREVER)
    assert held["power_w"].tolist() == [3.0, *(n / 7 for n in range(1, 20))]
    assert held["state"].tolist() == [float(n) for n in range(20)]
    assert held.text["berth"].tolist() == ['"', *(f"b {n}" for n in range(1, 20))]
