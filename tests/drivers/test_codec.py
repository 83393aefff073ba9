"""Decoding against golden words from documents, and against a slow definition with struct."""

import math
import struct
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.codec import Decoder, text_of
from drivers.plan import Block, plan
from drivers.profile import Point, Profile
from drivers.row import Quality, Row

FORMATS = {
    "uint16": "H", "int16": "h", "uint32": "I", "int32": "i", "uint64": "Q", "int64": "q", "float32": "f",
    "float64": "d",
}  # fmt: skip


def profile_of(*points: dict[str, Any], **settings_: Any) -> Profile:
    head = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
    return Profile.model_validate(head | settings_ | {"point": list(points)})


def decode_words(words: list[int], **point: Any) -> tuple[float, Quality]:
    """Value and quality of one point whose registers hold `words`."""
    profile = profile_of({"name": "x", "address": 100, **point})
    row = Decoder(profile, plan(profile, "live")).decode([struct.pack(f">{len(words)}H", *words)], 1)
    return float(row.values[0]), Quality(row.quality[0])


def one_by_one(profile: Profile, made: list[Block], answers: list[bytes]) -> Row:
    """The slow definition: each point from the bytes of its registers, with struct."""
    row = Row(1, np.full(len(profile.points), np.nan), np.full(len(profile.points), 15, np.uint8))
    for i, point in enumerate(profile.points):
        for block, answer in zip(made, answers, strict=True):
            at = 2 * (point.address - block.address)
            if profile.table_of(point) == block.table and 0 <= at < 2 * block.count:
                row.values[i], row.quality[i] = one_value(point, answer[at : at + 2 * point.words])
    return row


def one_value(point: Point, data: bytes) -> tuple[float, Quality]:
    """A value by the book: swap, unpack, sentinel, size, scale, range."""
    words = [data[i : i + 2] for i in range(0, len(data), 2)]
    if point.order in ("badc", "dcba"):
        words = [word[::-1] for word in words]
    if point.order in ("cdab", "dcba"):
        words = words[::-1]
    data = b"".join(words)
    pattern = int.from_bytes(data, "big")
    if pattern in [word % 256 ** len(data) for word in point.invalid]:
        return math.nan, Quality.UNKNOWN
    if point.type == "bool":
        raw = pattern != 0 if point.bit is None else pattern >> point.bit & 1
    else:
        (raw,) = struct.unpack(">" + FORMATS[point.type], data)
    if isinstance(raw, int) and abs(raw) > 2**53:
        return math.nan, Quality.TOO_LARGE
    if math.isnan(raw):
        return math.nan, Quality.UNKNOWN
    value = raw * point.scale + point.offset
    low, high = point.range or (-math.inf, math.inf)
    if math.isinf(value) or not low <= value <= high:
        return math.nan, Quality.OUT_OF_RANGE
    return value, Quality.GOOD


# IEEE 754 single and double precision, and integers: what any programmer's calculator shows
@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("float32", 230.0, [0x4366, 0x0000]),
        ("float32", 50.0, [0x4248, 0x0000]),
        ("float32", -0.15625, [0xBE20, 0x0000]),
        ("float32", 123456.0, [0x47F1, 0x2000]),
        ("float64", 1.0, [0x3FF0, 0, 0, 0]),
        ("float64", -118.625, [0xC05D, 0xA800, 0, 0]),
        ("int16", -40.0, [0xFFD8]),
        ("int16", -32768.0, [0x8000]),
        ("uint16", 65535.0, [0xFFFF]),
        ("int32", -2.0, [0xFFFF, 0xFFFE]),
        ("uint32", 305419896.0, [0x1234, 0x5678]),
        ("uint64", float(0x0001_0002_0003_0004), [1, 2, 3, 4]),
        ("int64", -5.0, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFB]),
    ],
)
def test_golden_words(kind: str, value: float, words: list[int]) -> None:
    assert decode_words(words, type=kind) == (value, Quality.GOOD)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("abcd", [0x0102, 0x0304]),
        ("cdab", [0x0304, 0x0102]),
        ("badc", [0x0201, 0x0403]),
        ("dcba", [0x0403, 0x0201]),
    ],
)
def test_the_four_byte_orders(order: str, words: list[int]) -> None:
    assert decode_words(words, type="uint32", order=order) == (0x01020304, Quality.GOOD)


def test_64_bits_in_four_byte_orders() -> None:
    value = 0x0001_0203_0405_0607
    straight = [0x0001, 0x0203, 0x0405, 0x0607]
    swapped = [0x0100, 0x0302, 0x0504, 0x0706]
    for order, words in {
        "abcd": straight,
        "cdab": straight[::-1],
        "badc": swapped,
        "dcba": swapped[::-1],
    }.items():
        assert decode_words(words, type="uint64", order=order) == (value, Quality.GOOD)


def test_integers_are_exact_up_to_2_53_and_unknown_beyond() -> None:
    def split(number: int) -> list[int]:
        return list(struct.unpack(">4H", (number % 2**64).to_bytes(8, "big")))

    for kind, number in [("uint64", 2**53), ("int64", 2**53), ("int64", -(2**53)), ("uint64", 2**53 - 1)]:
        assert decode_words(split(number), type=kind) == (number, Quality.GOOD)
    for kind, number in [
        ("uint64", 2**53 + 1),
        ("int64", 2**53 + 1),
        ("int64", -(2**53) - 1),
        ("uint64", 2**64 - 1),
    ]:
        value, quality = decode_words(split(number), type=kind)
        assert math.isnan(value) and quality == Quality.TOO_LARGE


def test_a_sentinel_is_unknown_and_its_neighbour_is_not() -> None:
    for words, point in [
        ([0x8000], {"type": "int16", "invalid": 0x8000}),
        ([0x8000], {"type": "int16", "invalid": -32768}),
        ([0xFFFF], {"type": "uint16", "invalid": 0xFFFF}),
        ([0x8000, 0], {"type": "int32", "invalid": 0x8000_0000}),
        ([0x8000, 0, 0, 0], {"type": "int64", "invalid": 0x8000_0000_0000_0000}),
        ([0x7FC0, 0], {"type": "float32", "invalid": 0x7FC0_0000}),
        ([0, 0x8000], {"type": "int32", "invalid": 0x8000_0000, "order": "cdab"}),
    ]:
        value, quality = decode_words(words, **point)
        assert math.isnan(value) and quality == Quality.UNKNOWN
    assert decode_words([0x8001], type="int16", invalid=0x8000) == (-32767, Quality.GOOD)


@pytest.mark.parametrize("words", [[0x7FC0, 0x0000], [0x7F80, 0x0001], [0xFFFF, 0xFFFF]])
def test_a_nan_of_any_kind_is_unknown_without_a_warning(words: list[int]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, quality = decode_words(words, type="float32")
    assert math.isnan(value) and quality == Quality.UNKNOWN


def test_infinity_is_out_of_range_even_where_none_is_given() -> None:
    assert decode_words([0x7F80, 0], type="float32")[1] == Quality.OUT_OF_RANGE
    assert decode_words([0xFF80, 0], type="float32")[1] == Quality.OUT_OF_RANGE


def test_the_range_holds_after_scaling_and_includes_its_ends() -> None:
    point = {"type": "int16", "scale": 0.1, "range": (-40.0, 150.0)}
    assert decode_words([1500], **point) == (150.0, Quality.GOOD)
    assert decode_words([0x10000 - 400], **point) == (-40.0, Quality.GOOD)
    for raw in (1501, 0x10000 - 401):
        value, quality = decode_words([raw], **point)
        assert math.isnan(value) and quality == Quality.OUT_OF_RANGE


@pytest.mark.parametrize(
    ("scale", "raw", "value"), [(0.1, 3, 0.3), (0.001, 231, 0.231), (0.0015, 7, 0.0105), (10.0, 7, 70.0)]
)
def test_a_decimal_scale_gives_the_decimal_value(scale: float, raw: int, value: float) -> None:
    assert decode_words([raw], type="uint16", scale=scale) == (value, Quality.GOOD)


def test_bits_and_inverted_contacts() -> None:
    for bit in range(16):
        assert decode_words([1 << bit], type="bool", bit=bit) == (1.0, Quality.GOOD)
        assert decode_words([0xFFFF ^ 1 << bit], type="bool", bit=bit) == (0.0, Quality.GOOD)
    assert decode_words([0xFF00], type="bool") == (1.0, Quality.GOOD)
    assert decode_words([1], type="bool", scale=-1.0, offset=1.0) == (0.0, Quality.GOOD)


def test_coils_come_least_significant_bit_first() -> None:
    # Modbus application protocol V1.1b3, section 6.1: coils 20-38 read as CD 6B 05
    points = [{"name": f"c{a}", "address": a, "type": "bool", "table": "coil"} for a in range(19, 38)]
    profile = profile_of(*points)
    row = Decoder(profile, plan(profile, "live")).decode([bytes.fromhex("CD6B05")], 1)
    assert "".join(str(int(v)) for v in row.values) == "1011001111010110101"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"AURELIE\0\0\0", "AURELIE"),
        (b"AURELIE   ", "AURELIE"),
        (b"\0\0\0\0", ""),
        ("Aurélie".encode() + b"\0", "Aurélie"),
        ("Aurélie".encode("latin-1"), "Aurélie"),
        (b"AB\0CD", "AB"),
        (b"A\x07B", None),
        (b"\xff\xff\xff\xff", None),
    ],
)
def test_text(data: bytes, text: str | None) -> None:
    assert text_of(data) == text


def test_a_text_is_beside_the_values_and_has_its_quality() -> None:
    profile = profile_of(
        {"name": "vessel", "address": 0, "type": "string", "length": 4},
        {"name": "swapped", "address": 4, "type": "string", "length": 2, "order": "badc"},
        {"name": "noise", "address": 6, "type": "string", "length": 1},
        {"name": "n", "address": 7, "type": "uint16"},
    )
    decoder = Decoder(profile, plan(profile, "live"))
    row = decoder.decode([b"AURELIE\0" + b"BADC" + b"\x01\x02" + b"\x00\x07"], 1)
    assert row.text == {0: "AURELIE", 1: "ABCD"}
    assert row.quality.tolist() == [0, 0, Quality.NONSENSE, 0]
    assert np.isnan(row.values[:3]).all() and row.values[3] == 7
    assert decoder.decode([Quality.REFUSED], 1).text == {}


def test_a_block_without_answer_leaves_no_trace_of_the_scan_before() -> None:
    profile = profile_of(
        {"name": "a", "address": 0, "type": "uint16"},
        {"name": "b", "address": 50, "type": "uint16"},
        {"name": "c", "address": 90, "type": "uint16", "scan": "slow"},
    )
    decoder = Decoder(profile, plan(profile, "live"))
    first = decoder.decode([b"\x00\x01", b"\x00\x02"], 1)
    second = decoder.decode([Quality.REFUSED, b"\x00\x03"], 2)
    assert first.values[:2].tolist() == [1, 2]  # a row is a copy
    assert math.isnan(second.values[0]) and second.values[1] == 3 and second.t_ns == 2
    assert second.quality.tolist() == [Quality.REFUSED, Quality.GOOD, Quality.NOT_SCANNED]


@st.composite
def profiles_with_words(draw: st.DrawFn) -> tuple[Profile, list[int]]:
    points, address = [], 0
    for i in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from([*FORMATS, "bool"]))
        point = {
            "name": f"p{i}",
            "type": kind,
            "address": address,
            "order": draw(st.sampled_from(["abcd", "cdab", "badc", "dcba"])),
            "scale": draw(st.sampled_from([1.0, 10.0, 0.5, -1.0])),
            "offset": draw(st.sampled_from([0.0, -40.0])),
            "range": draw(st.sampled_from([None, (-1e6, 1e6), (0.0, 65_535.0)])),
            "invalid": draw(st.sampled_from([None, 0, [0x8000, 0x7FC0], 0x8000_0000, -1])),
        }
        if kind == "bool":
            point["bit"] = draw(st.sampled_from([None, 0, 7, 15]))
        points.append(point)
        address += Point.model_validate(point).words + draw(st.integers(0, 3))
    word = st.sampled_from([0, 1, 0x8000, 0x7FC0, 0x4366, 0xFFFF]) | st.integers(0, 0xFFFF)
    profile = profile_of(*draw(st.permutations(points)), max_gap=draw(st.integers(0, 3)))
    return profile, draw(st.lists(word, min_size=address + 4, max_size=address + 4))


@given(profiles_with_words())
@settings(max_examples=200, deadline=None)
def test_decoding_all_at_once_agrees_with_one_by_one(case: tuple[Profile, list[int]]) -> None:
    profile, words = case
    made = plan(profile, "live")
    answers = [struct.pack(f">{b.count}H", *words[b.address : b.address + b.count]) for b in made.blocks]
    row = Decoder(profile, made).decode(answers, 1)
    expected = one_by_one(profile, made.blocks, answers)
    assert row.quality.tolist() == expected.quality.tolist()
    np.testing.assert_array_equal(row.values, expected.values)
