"""Golden words: what makers' documents say is on the wire."""

import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.profile import Point, Profile, load_profile, shipped_profiles
from firmware_sim.encode import RegisterImage, words_of


def point(kind: str, **more: object) -> Point:
    return Point.model_validate({"name": "x", "type": kind, "address": 0, **more})


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        # Eastron SDM320Y user manual, 06-2018, V1.0, page 42: 43 66 33 34 = 230.2 and 42 C8 00 00 = 100
        ("float32", 230.20001220703125, [0x4366, 0x3334]),
        ("float32", 100.0, [0x42C8, 0x0000]),
        # MODBUS Application Protocol 1.1b3, section 6.3: registers 108-110 hold 555, 0 and 100
        ("uint16", 555, [0x022B]),
        ("uint16", 100, [0x0064]),
        # Two's complement and IEEE 754 by hand
        ("int16", -2, [0xFFFE]),
        ("int32", -2, [0xFFFF, 0xFFFE]),
        ("uint32", 305_419_896, [0x1234, 0x5678]),
        ("int64", 81_985_529_216_486_895, [0x0123, 0x4567, 0x89AB, 0xCDEF]),
        ("uint64", 2**64 - 2, [0xFFFF, 0xFFFF, 0xFFFF, 0xFFFE]),
        ("float32", -118.625, [0xC2ED, 0x4000]),
        ("float64", 1.0, [0x3FF0, 0, 0, 0]),
    ],
)
def test_words_are_those_of_the_document(kind: str, value: float, words: list[int]) -> None:
    assert words_of(point(kind), value) == words


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ("abcd", [0x1234, 0x5678]),
        ("cdab", [0x5678, 0x1234]),
        ("badc", [0x3412, 0x7856]),
        ("dcba", [0x7856, 0x3412]),
    ],
)
def test_byte_orders_of_a_pair(order: str, words: list[int]) -> None:
    assert words_of(point("uint32", order=order), 0x12345678) == words


def test_a_64_bit_value_in_swapped_words_starts_with_the_lowest() -> None:
    assert words_of(point("uint64", order="cdab"), 0x0123456789ABCDEF) == [0xCDEF, 0x89AB, 0x4567, 0x0123]


def test_scale_and_offset_are_undone() -> None:
    assert words_of(point("int32", scale=10.0), 6_999_996.0) == [0x000A, 0xAE60]  # 700 000 tens of watts
    assert words_of(point("int16", scale=0.1, offset=-40.0), 26.4) == [664]


def test_a_value_beyond_the_type_saturates_as_in_a_plc() -> None:
    assert words_of(point("uint16"), 70_000) == [0xFFFF]
    assert words_of(point("uint16"), -1) == [0]
    assert words_of(point("int16"), -40_000.0) == [0x8000]
    assert words_of(point("int32"), math.inf) == [0x7FFF, 0xFFFF]
    assert words_of(point("float32"), 1e300) == [0x7F7F, 0xFFFF]


@pytest.mark.parametrize("unknown", [None, math.nan])
def test_unknown_is_the_sentinel_then_nan_then_zero(unknown: float | None) -> None:
    assert words_of(point("int32", invalid=0x8000_0000), unknown) == [0x8000, 0]
    assert words_of(point("float32"), unknown) == [0x7FC0, 0]
    assert words_of(point("uint16"), unknown) == [0]


def test_text_is_two_characters_a_register_filled_with_nul() -> None:
    assert words_of(point("string", length=5), "AURELIE") == [0x4155, 0x5245, 0x4C49, 0x4500, 0]
    assert words_of(point("string", length=2), "AURELIE") == [0x4155, 0x5245]
    assert words_of(point("string", length=2, order="badc"), "AURE") == [0x5541, 0x4552]


@given(st.integers(-(2**63), 2**63 - 1), st.sampled_from(["abcd", "cdab", "badc", "dcba"]))
def test_no_digit_of_a_counter_is_lost(value: int, order: str) -> None:
    words = words_of(point("int64", order=order), value)
    if order in ("cdab", "dcba"):
        words = words[::-1]
    data = struct.pack(f"{'<' if order in ('badc', 'dcba') else '>'}4H", *words)
    assert int.from_bytes(data, "big", signed=True) == value


def profile(points: list[dict[str, object]], **more: object) -> Profile:
    head = {"schema": 1, "kind": "lock", "model": "m", "source": "s"}
    return Profile.model_validate({**head, **more, "point": points})


def test_bits_share_a_register() -> None:
    bits = [{"name": f"b{i}", "type": "bool", "address": 7, "bit": i} for i in (0, 2, 15)]
    image = RegisterImage(profile(bits))
    assert image.read("holding", 7, 1, {"b0": True, "b2": False, "b15": 1}) == [0x8001]


def test_a_request_that_cuts_a_value_gets_its_part() -> None:
    image = RegisterImage(profile([{"name": "x", "type": "uint32", "address": 4}]))
    assert image.read("holding", 4, 1, {"x": 0x12345678}) == [0x1234]
    assert image.read("holding", 5, 1, {"x": 0x12345678}) == [0x5678]


def test_gaps_within_max_gap_read_as_zero_and_others_are_refused() -> None:
    points = [{"name": f"p{a}", "type": "uint16", "address": a} for a in (10, 13, 20)]
    image = RegisterImage(profile(points, max_gap=2, forbidden=[[11, 11]]))
    assert image.covers("holding", 12, 2)
    assert image.read("holding", 12, 2, {"p13": 5}) == [0, 5]
    assert not image.covers("holding", 10, 2)  # 11 is forbidden
    assert not image.covers("holding", 13, 8)  # 14 to 19 are more than two
    assert not image.covers("input", 10, 1)


@pytest.mark.parametrize("name", [n for n in shipped_profiles() if load_profile(n).protocol == "modbus"])
def test_every_shipped_profile_can_be_read_point_by_point(name: str) -> None:
    shipped = load_profile(name)
    image = RegisterImage(shipped)
    for p in shipped.points:
        assert p.address is not None
        assert image.covers(shipped.table_of(p), p.address, p.words), p.name
