"""What a plan promises whatever the profile: all points, few requests, nothing forbidden, nothing split."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.errors import ProfileError
from drivers.plan import Block, plan
from drivers.profile import Profile, load_profile

TYPES = ["bool", "uint16", "int32", "float64", "string"]


def profile_of(*points: dict, **settings_: object) -> Profile:
    head = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
    return Profile.model_validate(head | settings_ | {"point": list(points)})


def blocks_of(profile: Profile, scan: str = "live") -> list[str]:
    return [str(block) for block in plan(profile, scan).blocks]


def words(*addresses: int, **more: object) -> list[dict]:
    return [{"name": f"p{a}", "address": a, "type": "uint16", **more} for a in addresses]


@st.composite
def profiles(draw: st.DrawFn) -> Profile:
    """Points anywhere in a small part of the four tables, in any order, with some zones forbidden."""
    max_registers = draw(st.integers(4, 20))
    forbidden = [
        (a, a + n) for a, n in draw(st.lists(st.tuples(st.integers(0, 49), st.integers(0, 2)), max_size=4))
    ]
    points, taken = [], set()
    for i, (table, address, kind, length, scan) in enumerate(
        draw(
            st.lists(
                st.tuples(
                    st.sampled_from(["holding", "input", "coil", "discrete"]),
                    st.integers(0, 49),
                    st.sampled_from(TYPES),
                    st.integers(1, 4),
                    st.sampled_from(["live", "slow"]),
                ),
                min_size=1,
                max_size=40,
            )
        )
    ):
        if table in ("coil", "discrete"):
            kind = "bool"
        size = {"bool": 1, "uint16": 1, "int32": 2, "float64": 4, "string": length}[kind]
        span = range(address, address + size)
        cells = {(table, a) for a in span}
        if cells & taken or any(a <= span[-1] and b >= span[0] for a, b in forbidden):
            continue
        taken |= cells
        point = {"name": f"p{i}", "table": table, "address": address, "type": kind, "scan": scan}
        points.append(point | ({"length": length} if kind == "string" else {}))
    points = points or words(200)
    max_gap = draw(st.integers(0, 10))
    return profile_of(*points, max_registers=max_registers, max_gap=max_gap, forbidden=forbidden)


@given(profiles())
@settings(max_examples=150, deadline=None)
def test_every_plan_reads_all_points_whole_within_the_limits(profile: Profile) -> None:
    for scan in profile.scans:
        made = plan(profile, scan)
        carried = [index for members in made.points for index in members]
        assert sorted(carried) == [i for i, p in enumerate(profile.points) if p.scan == scan]
        for block, members in zip(made.blocks, made.points, strict=True):
            unit = 16 if block.is_bits else 1
            span = range(block.address, block.address + block.count)
            assert block.count <= profile.max_registers * unit
            used = set()
            for point in (profile.points[index] for index in members):
                cells = set(range(point.address, point.address + point.words))
                assert profile.table_of(point) == block.table and cells <= set(span)
                used |= cells
            assert {span[0], span[-1]} <= used  # no register is read for nothing at the ends
            gaps = [b - a - 1 for a, b in itertools.pairwise(sorted(used))]
            assert max(gaps, default=0) <= profile.max_gap * unit
            assert not any(a <= span[-1] and b >= span[0] for a, b in profile.forbidden)


def fewest(profile: Profile, spans: list[range], unit: int) -> int:
    """The least number of requests for points of one table, by trying every way to cut the list."""

    def is_one_request(run: list[range]) -> bool:
        gaps = [range(a.stop, b.start) for a, b in itertools.pairwise(run)]
        bridged = {register for gap in gaps for register in gap}
        return (
            run[-1].stop - run[0].start <= profile.max_registers * unit
            and max(map(len, gaps), default=0) <= profile.max_gap * unit
            and not any(low <= register <= high for low, high in profile.forbidden for register in bridged)
        )

    best = [0]
    for end in range(1, len(spans) + 1):
        best.append(1 + min(best[start] for start in range(end) if is_one_request(spans[start:end])))
    return best[-1]


@given(profiles())
@settings(max_examples=100, deadline=None)
def test_no_plan_has_fewer_requests(profile: Profile) -> None:
    for scan, table in itertools.product(profile.scans, ["holding", "input", "coil", "discrete"]):
        points = [p for p in profile.points if p.scan == scan and profile.table_of(p) == table]
        spans = sorted((range(p.address, p.address + p.words) for p in points), key=lambda span: span.start)
        blocks = [block for block in plan(profile, scan).blocks if block.table == table]
        assert len(blocks) == fewest(profile, spans, 16 if table in ("coil", "discrete") else 1)


def test_a_gap_is_bridged_up_to_its_limit() -> None:
    assert blocks_of(profile_of(*words(0, 9, 19))) == ["holding 0-9", "holding 19-19"]
    assert blocks_of(profile_of(*words(0, 9, 19), max_gap=9)) == ["holding 0-19"]
    assert blocks_of(profile_of(*words(0, 1, 3), max_gap=0)) == ["holding 0-1", "holding 3-3"]


def test_a_forbidden_register_is_never_bridged() -> None:
    for zone in [(1, 1), (2, 2), (3, 3), (1, 3)]:
        assert blocks_of(profile_of(*words(0, 4), forbidden=[zone])) == ["holding 0-0", "holding 4-4"]
    assert blocks_of(profile_of(*words(1, 5), forbidden=[(0, 0), (6, 9)])) == ["holding 1-5"]


def test_a_value_is_not_split_at_the_limit_of_a_request() -> None:
    points = [{"name": f"p{a}", "address": a, "type": "uint64"} for a in range(0, 16, 4)]
    assert blocks_of(profile_of(*points, max_registers=10)) == ["holding 0-7", "holding 8-15"]


def test_bits_of_one_register_cost_one_register() -> None:
    bits = [{"name": f"b{n}", "address": 20, "type": "bool", "bit": n} for n in range(16)]
    assert blocks_of(profile_of(*bits)) == ["holding 20-20"]


def test_tables_are_not_mixed_and_scan_classes_neither() -> None:
    points = [*words(0, 1), *words(2, table="input"), *words(3, scan="slow")]
    profile = profile_of(*points)
    assert blocks_of(profile) == ["holding 0-1", "input 2-2"]
    assert blocks_of(profile, "slow") == ["holding 3-3"]


def test_2000_coils_are_one_request_and_one_more_makes_two() -> None:
    coils = [{"name": f"c{a}", "address": a, "type": "bool", "table": "coil"} for a in range(0, 2001, 100)]
    assert plan(profile_of(*coils[:-1]), "live").blocks == (Block("coil", 0, 1901),)
    assert [b.count for b in plan(profile_of(*coils), "live").blocks] == [1901, 1]


@pytest.mark.parametrize(
    ("name", "live", "slow"),
    [
        ("generic-charger", ["holding 0-17"], ["holding 20-23", "holding 100-111"]),
        ("generic-meter", ["holding 0-19", "holding 40-47"], ["holding 48-51"]),
        ("generic-lock", ["holding 0-25"], ["holding 64-69"]),
    ],
)
def test_requests_of_the_shipped_profiles(name: str, live: list[str], slow: list[str]) -> None:
    profile = load_profile(name)
    assert (blocks_of(profile), blocks_of(profile, "slow")) == (live, slow)


def test_what_cannot_be_read_is_named() -> None:
    points = [
        {"name": "level", "address": 1, "type": "int32", "table": "coil"},
        {"name": "flag", "address": 9, "type": "bool", "bit": 3, "table": "discrete"},
        {"name": "vessel", "address": 20, "type": "string", "length": 4, "order": "cdab"},
        {"name": "fine", "address": 30, "type": "bool", "table": "coil"},
    ]
    with pytest.raises(ProfileError) as raised:
        plan(profile_of(*points), "live")
    lines = str(raised.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["point level", "point flag", "point vessel"]
    with pytest.raises(ProfileError, match="scan class 'fast' has no points; use one of live"):
        plan(profile_of(*words(1)), "fast")
    with pytest.raises(ProfileError, match="protocol = 'opcua'"):
        plan(load_profile("generic-bms"), "live")
