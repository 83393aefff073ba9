"""Every type in every byte order: golden words worked out by hand, and what the simulator encodes read back."""

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.codec import Decoder
from drivers.learned import Learned
from drivers.plan import plan
from drivers.profile import WORDS, Point, Profile
from drivers.row import Quality, Row
from firmware_sim.encode import RegisterImage, words_of

ORDERS = ["abcd", "cdab", "badc", "dcba"]
HEAD = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}

# By hand: two's complement of 123456789 = 0x075BCD15; IEEE 754 for the floats (123456.789 is 0x47F12065 in
# single precision, pi 0x400921FB54442D18 in double, 1.2041015625 0x3CD1 in half); BCD is the digits themselves.
GOLDEN = {
    "uint16": (0x1234, "1234"),
    "int16": (-12_345, "CFC7"),
    "bcd16": (1234, "1234"),
    "float16": (1.2041015625, "3CD1"),
    "uint32": (305_419_896, "12345678"),
    "int32": (-123_456_789, "F8A432EB"),
    "bcd32": (12_345_678, "12345678"),
    "float32": (123_456.7890625, "47F12065"),
    "uint64": (283_686_952_306_183, "0001020304050607"),
    "int64": (-123_456_789, "FFFFFFFFF8A432EB"),
    "bcd64": (1_234_567_890_123_456, "1234567890123456"),
    "float64": (math.pi, "400921FB54442D18"),
}


def profile_of(*points: dict[str, Any], **head: Any) -> Profile:
    return Profile.model_validate(HEAD | head | {"point": list(points)})


def read(profile: Profile, words: dict[int, int], learned: Learned | None = None) -> Row:
    """A scan of a device whose registers hold `words`, or 0."""
    made = plan(profile, "live", learned=learned)
    spans = [range(block.address, block.address + block.count) for block in made.blocks]
    answers = [struct.pack(f">{len(span)}H", *(words.get(a, 0) for a in span)) for span in spans]
    return Decoder(profile, made).decode(answers, 1)


def decoded(words: list[int], **point: Any) -> tuple[float, Quality]:
    row = read(profile_of({"name": "x", "address": 0, **point}), dict(enumerate(words)))
    return float(row.values[0]), Quality(row.quality[0])


def test_golden_words_cover_every_type_that_is_a_number() -> None:
    assert {*GOLDEN, "bool"} == set(WORDS)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", GOLDEN)
def test_golden_words_in_every_order(kind: str, order: str) -> None:
    value, hex_words = GOLDEN[kind]
    words = [hex_words[i : i + 4] for i in range(0, len(hex_words), 4)]
    if order in ("badc", "dcba"):
        words = [word[2:] + word[:2] for word in words]
    if order in ("cdab", "dcba"):
        words = words[::-1]
    numbers = [int(word, 16) for word in words]
    assert decoded(numbers, type=kind, order=order) == (value, Quality.GOOD)
    point = Point.model_validate({"name": "x", "address": 0, "type": kind, "order": order})
    assert words_of(point, value) == numbers  # the simulator, which encodes on its own


@pytest.mark.parametrize("words", [[0x123A], [0xF000], [0x0A00]])
def test_a_digit_above_nine_is_nonsense_unless_it_is_the_sentinel(words: list[int]) -> None:
    value, quality = decoded(words, type="bcd16")
    assert math.isnan(value) and quality == Quality.NONSENSE
    assert decoded(words, type="bcd16", invalid=words[0])[1] == Quality.UNKNOWN
    assert decoded([0x0099, *words], type="bcd32")[1] == Quality.NONSENSE


def test_sixteen_digits_beyond_2_53_are_too_large() -> None:
    assert decoded([0x9007, 0x1992, 0x5474, 0x0992], type="bcd64") == (2.0**53, Quality.GOOD)
    assert decoded([0x9007, 0x1992, 0x5474, 0x0993], type="bcd64")[1] == Quality.TOO_LARGE


def test_half_floats_know_nan_and_infinity() -> None:
    assert decoded([0x0001], type="float16") == (2.0**-24, Quality.GOOD)
    assert decoded([0x7BFF], type="float16") == (65_504.0, Quality.GOOD)
    assert decoded([0x7E00], type="float16")[1] == Quality.UNKNOWN
    assert decoded([0x7C00], type="float16")[1] == Quality.OUT_OF_RANGE


def test_each_of_several_sentinels_means_unknown() -> None:
    sentinels = [0x7FFF, -1]  # not connected; over range
    for word in (0x7FFF, 0xFFFF):
        assert decoded([word], type="int16", invalid=sentinels)[1] == Quality.UNKNOWN
    assert decoded([0x7FFE], type="int16", invalid=sentinels) == (32_766.0, Quality.GOOD)


def with_factor(**user: Any) -> Profile:
    return profile_of(
        {"name": "power_w", "address": 10, "type": "int16", "scale_from": "power_sf", **user},
        {"name": "state", "address": 11, "type": "uint16"},
        {"name": "power_sf", "address": 14, "type": "int16", "invalid": 0x8000, "scan": "slow"},
    )


@pytest.mark.parametrize(
    ("raw", "factor", "value"),
    [(231, -1, 23.1), (231, 0, 231.0), (231, 3, 231e3), (-7, -3, -0.007), (1, 10, 1e10)],
)
def test_a_scale_factor_is_a_power_of_ten_read_by_the_same_request(raw: int, factor: int, value: float) -> None:
    profile = with_factor()
    assert [str(block) for block in plan(profile, "live").blocks] == ["holding 10-14"]
    row = read(profile, {10: raw % 65_536, 11: 7, 14: factor % 65_536})
    assert row.values[:2].tolist() == [value, 7.0]
    assert row.quality.tolist() == [0, 0, Quality.NOT_SCANNED]  # the factor is reported by its own class


@pytest.mark.parametrize("factor", [0x8000, 11, 65_536 - 11])
def test_without_a_scale_factor_its_points_are_unknown_and_no_others(factor: int) -> None:
    row = read(with_factor(), {10: 231, 11: 7, 14: factor})
    assert math.isnan(row.values[0]) and row.quality[0] == Quality.UNKNOWN
    assert (row.values[1], row.quality[1]) == (7.0, Quality.GOOD)


def test_scale_offset_and_range_hold_with_a_scale_factor() -> None:
    profile = with_factor(scale=2.0, offset=5.0, range=(0.0, 100.0))
    assert read(profile, {10: 231, 14: 65_535}).values[0] == 231 * 2 / 10 + 5
    assert read(profile, {10: 231, 14: 0}).quality[0] == Quality.OUT_OF_RANGE


def test_a_scale_factor_in_swapped_bytes() -> None:
    profile = profile_of(
        {"name": "power_w", "address": 0, "type": "uint32", "scale_from": "sf"},
        {"name": "sf", "address": 2, "type": "int16", "order": "badc"},
    )
    assert read(profile, {0: 0x0001, 1: 0x0000, 2: 0xFEFF}).values.tolist() == [655.36, -2.0]


def test_points_set_aside_at_commissioning_are_refused_with_those_that_need_them() -> None:
    row = read(with_factor(), {10: 231, 11: 7}, Learned(refused={"power_sf": "exception 2"}))
    assert row.quality.tolist() == [Quality.REFUSED, Quality.GOOD, Quality.NOT_SCANNED]
    assert math.isnan(row.values[0])


def values_of(kind: str) -> st.SearchStrategy[float | int]:
    bits = 16 * WORDS[kind]
    if kind.startswith("float"):
        return st.floats(width=bits, allow_nan=False, allow_infinity=False)
    if kind == "bool":
        return st.integers(0, 1)
    if kind.startswith("bcd"):
        return st.integers(0, min(10 ** (bits // 4) - 1, 2**53))
    low, high = (0, 2**bits - 1) if kind.startswith("u") else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    return st.integers(max(low, -(2**53)), min(high, 2**53))


@st.composite
def devices(draw: st.DrawFn) -> tuple[Profile, dict[str, float | int]]:
    """Points of all types and orders side by side, each with a value that it can hold."""
    points: list[dict[str, Any]] = []
    values: dict[str, float | int] = {}
    address = 0
    for i, kind in enumerate(draw(st.lists(st.sampled_from(list(WORDS)), min_size=1, max_size=10))):
        point = {"name": f"p{i}", "address": address, "type": kind, "order": draw(st.sampled_from(ORDERS))}
        if kind not in ("bool", "float64", "uint64", "int64", "bcd64") and draw(st.booleans()):
            point["scale"] = draw(st.sampled_from([0.1, 10.0, 0.001]))
        points.append(point)
        values[f"p{i}"] = draw(values_of(kind)) * point.get("scale", 1)
        address += WORDS[kind] + draw(st.integers(0, 3))
    return profile_of(*draw(st.permutations(points))), values


@given(devices())
@settings(max_examples=60, deadline=None)
def test_what_the_simulator_encodes_is_read_back(device: tuple[Profile, dict[str, float | int]]) -> None:
    profile, values = device
    words = dict(enumerate(RegisterImage(profile).read("holding", 0, 125, values)))
    row = read(profile, words)
    expected = [values[point.name] for point in profile.points]
    assert not row.quality.any()
    np.testing.assert_allclose(row.values, expected, rtol=1e-12)
    exact = [i for i, point in enumerate(profile.points) if point.scale == 1.0]
    assert row.values[exact].tolist() == [expected[i] for i in exact]


@given(st.integers(-3_000_000, 3_000_000), st.sampled_from(ORDERS[::2]))
@settings(max_examples=30, deadline=None)
def test_the_simulator_picks_a_scale_factor_that_the_range_fits(power_w: int, order: str) -> None:
    profile = profile_of(
        {
            "name": "power_w",
            "address": 0,
            "type": "int16",
            "scale_from": "sf",
            "range": [-3e6, 3e6],
            "order": order,
        },
        {"name": "sf", "address": 1, "type": "int16"},
    )
    words = RegisterImage(profile).read("holding", 0, 2, {"power_w": power_w})
    row = read(profile, dict(enumerate(words)))
    assert row.values[1] == 2.0  # 3 MW in 32767 steps of 100 W
    assert row.values[0] == pytest.approx(power_w, abs=50.0)
