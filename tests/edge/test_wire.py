"""The contract between edge and shore."""

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from drivers.row import Quality
from edge import wire

names = st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True)
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\r", exclude_categories=["Cs", "Cc"]), max_size=30
)
# control characters other than a line break are no device's text; our own test of them is below
values = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False), texts,
)  # fmt: skip
TAGS = {"site": "port", "gateway": "gw-1", "device": "meter-1", "origin": "real"}


@given(names, st.dictionaries(names, values, min_size=1, max_size=6), st.integers(-(2**62), 2**62))
def test_a_row_comes_back_as_it_was_sent(kind: str, fields: dict[str, wire.Value], t_ns: int) -> None:
    row = wire.decode_row(wire.encode_row(kind, TAGS, fields, t_ns))
    assert (row.kind, row.tags, row.fields, row.t_ns) == (kind, TAGS, fields, t_ns)
    assert {name: type(value) for name, value in row.fields.items()} == {n: type(v) for n, v in fields.items()}


@given(st.dictionaries(names, values, min_size=1, max_size=6))
def test_an_independent_parser_reads_the_same_row(fields: dict[str, wire.Value]) -> None:
    fields = {n: v.replace("\\", "") if isinstance(v, str) else v for n, v in fields.items()}  # its own dialect
    fields = {n: v.replace("\n", " ") if isinstance(v, str) else v for n, v in fields.items()}
    parsed = parse_line(wire.encode_row("meter", TAGS, fields, 1_700_000_000_000_000_000))
    assert parsed["measurement"] == "meter"
    assert parsed["tags"] == TAGS
    assert parsed["time"] == 1_700_000_000_000_000_000
    assert parsed["fields"] == fields


@pytest.mark.parametrize("text", ["two\nlines", "tab\tnul\0", 'a "quoted" \\ path', "", "é écluse ½"])
def test_text_comes_back_whatever_is_in_it(text: str) -> None:
    row = wire.decode_row(wire.encode_row("event", TAGS, {"text": text}, 1))
    assert row.fields["text"] == text


def test_unknown_values_are_left_out_and_a_row_of_nothing_is_refused() -> None:
    line = wire.encode_row("meter", TAGS, {"power_w": math.nan, "frequency_hz": 50.0}, 1)
    assert "power_w" not in line
    with pytest.raises(wire.WireError, match="no field is known"):
        wire.encode_row("meter", TAGS, {"power_w": math.nan}, 1)


def batch(lines: list[str]) -> tuple[wire.Header, bytes]:
    body = wire.body_of(lines)
    spool = "0b2f3f84-6f6a-4c6e-8f7e-2d1c7c0a9f10"
    header = wire.Header("port", "gw-1", spool, 7, "live", len(lines), wire.crc32(body))
    return header, wire.encode_batch(header, body)


def test_a_batch_comes_back_with_its_header() -> None:
    lines = [wire.encode_row("meter", TAGS, {"power_w": float(i)}, i) for i in range(3)]
    header, payload = batch(lines)
    assert wire.decode_batch(payload) == (header, lines)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.replace(b"power_w=1.0", b"power_w=9.0"), "crc32 of the lines is"),
        (lambda p: p.replace(b"rows=3", b"rows=4"), "3 rows, the header says 4"),
        (lambda p: p.replace(b"lane=live", b"lane=fast"), "lane 'fast' is not one of events"),
        (lambda p: p.replace(b"# bollard/1", b"# bollard/2"), "version 2 of the wire"),
        (lambda p: b"power_w=1 1", "is no bollard/1 header"),
    ],
)
def test_a_damaged_batch_is_refused_and_says_why(damage, message: str) -> None:
    _, payload = batch([wire.encode_row("meter", TAGS, {"power_w": float(i)}, i) for i in range(3)])
    with pytest.raises(wire.WireError, match=message):
        wire.decode_batch(damage(payload))


@pytest.mark.parametrize(
    "line",
    [
        "",
        "meter",
        "meter a=1",
        "meter,site=x a=1, 5",
        "meter,site=x a= 5",
        'meter,site=x a="b 5',
        "meter,site=x a=1i2 5",
    ],
)
def test_a_line_that_is_none_is_refused(line: str) -> None:
    with pytest.raises(wire.WireError):
        wire.decode_row(line)


@given(st.binary(max_size=300))
def test_no_payload_brings_the_decoders_down(payload: bytes) -> None:
    for decode in (wire.decode_batch, wire.decode_receipt, wire.decode_catalogue, wire.inflate):
        with contextlib.suppress(wire.WireError):  # anything else fails the test
            assert decode(payload) is not None


def test_the_shore_knows_the_same_qualities_as_the_drivers() -> None:
    theirs = {int(quality): quality.name.lower() for quality in Quality}
    assert theirs == wire.QUALITY


def test_types_are_checked_against_the_catalogue() -> None:
    point = {"name": "power_w", "type": "float"}
    catalogue = wire.Catalogue("port", "gw-1", "h", {}, [{"kind": "meter", "name": "meter-1", "points": [point]}])
    types = catalogue.field_types()

    def why(**fields: wire.Value) -> str | None:
        return wire.problem_with(wire.RowLine("meter", TAGS, fields, 1), types)

    assert why(power_w=1.5) is None
    assert why(power_w=1.5, q="00") is None
    assert why(power_w=1) == "field 'power_w' of meter 'meter-1' is int, the catalogue says float"
    assert why(energy=1) == "field 'energy' is not in the catalogue of meter 'meter-1'"
    other = wire.RowLine("meter", TAGS | {"device": "m2"}, {"power_w": 1.0}, 1)
    assert wire.problem_with(other, types) == "kind 'meter' of device 'm2' is not in the catalogue"
