"""No plan is cheaper: the planner against every way there is to share points out among requests."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cost import COST_TCP, Cost
from drivers.errors import ProfileError
from drivers.learned import Learned
from drivers.plan import Plan, plan
from drivers.profile import Point, Profile

HEAD = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
COSTS = [COST_TCP, Cost(0.0, 1.0), Cost(2.0, 1.0), Cost(5.0, 1.0), Cost(0.03, 0.001)]
SIZES = {"bool": 1, "uint16": 1, "int32": 2, "float64": 4}


@st.composite
def cases(draw: st.DrawFn) -> tuple[Profile, Cost, Learned]:
    """A handful of points in one table, some with a scale factor, some together, some registers barred."""
    points: list[dict[str, Any]] = []
    free = list(range(36))
    table = draw(st.sampled_from(["holding", "coil"]))
    for i in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(list(SIZES))) if table == "holding" else "bool"
        fitting = [a for a in free if set(range(a, a + SIZES[kind])) <= set(free)]
        address = draw(st.sampled_from(fitting))
        free = [a for a in free if not address <= a < address + SIZES[kind]]
        points.append({"name": f"p{i}", "address": address, "type": kind})
    if table == "holding" and draw(st.booleans()):
        points.append({"name": "sf", "address": draw(st.sampled_from(free)), "type": "int16", "scan": "slow"})
        free.remove(points[-1]["address"])
        for point in points[:-1]:
            if point["type"] != "bool" and draw(st.booleans()):
                point["scale_from"] = "sf"
    names = st.sampled_from([point["name"] for point in points if "scan" not in point])
    group = st.lists(names, min_size=2, max_size=3, unique=True)
    together = draw(st.lists(group, max_size=2)) if len(points) > 2 else []
    barred = st.lists(st.sampled_from(free).map(lambda a: (a, a)), max_size=2)
    profile = Profile.model_validate(
        HEAD
        | {"point": points, "table": table, "together": together, "forbidden": {table: draw(barred)}}
        | {"max_gap": draw(st.integers(0, 12)), "max_bits": draw(st.integers(6, 36))}
        | {"max_registers": draw(st.integers(6, 36))}
    )
    return profile, draw(st.sampled_from(COSTS)), Learned({table: draw(barred)})  # type: ignore[dict-item]


def partitions(items: list[int]) -> Iterator[list[list[int]]]:
    """All ways to put items into boxes."""
    if not items:
        yield []
        return
    for boxes in partitions(items[1:]):
        yield [[items[0]], *boxes]
        for i, box in enumerate(boxes):
            yield [*boxes[:i], [items[0], *box], *boxes[i + 1 :]]


def registers_of(profile: Profile, points: list[Point]) -> set[int]:
    parts = [*points, *(profile.points[profile.index[p.scale_from]] for p in points if p.scale_from)]
    return {a for part in parts for a in range(part.address or 0, (part.address or 0) + part.words)}


def is_allowed(profile: Profile, learned: Learned, hull: range, used: set[int]) -> bool:
    """Whether the profile lets one request read a range, register by register."""
    is_bits = profile.table == "coil"
    barred = {a for low, high in profile.forbidden_in(profile.table) for a in range(low, high + 1)}
    barred |= {a for low, high in learned.unreadable.get(profile.table, ()) for a in range(low, high + 1)}
    unused = 0
    for address in hull:
        unused = 0 if address in used else unused + 1
        if address in barred or unused > profile.max_gap * (16 if is_bits else 1):
            return False
    return len(hull) <= (profile.max_bits if is_bits else profile.max_registers)


def least(profile: Profile, cost: Cost, learned: Learned) -> tuple[float, int] | None:
    """Cost and number of requests of the best plan, by trying all; None where nothing is allowed."""
    wanted = [i for i, point in enumerate(profile.points) if point.scan == "live"]
    used = registers_of(profile, [profile.points[i] for i in wanted])
    groups = [{profile.index[name] for name in group} for group in profile.together]
    found = []
    for boxes in partitions(wanted):
        if any(set(box) & group and not group <= set(box) for box in boxes for group in groups):
            continue
        cells = [registers_of(profile, [profile.points[i] for i in box]) for box in boxes]
        hulls = [range(min(c), max(c) + 1) for c in cells]
        if all(is_allowed(profile, learned, hull, used) for hull in hulls):
            found.append((price(cost, [len(h) for h in hulls], profile), len(hulls)))
    return min(found, default=None)


def price(cost: Cost, counts: list[int], profile: Profile) -> float:
    return round(sum(cost.block_s(count, profile.table == "coil") for count in counts), 9)


def assert_whole(profile: Profile, made: Plan, learned: Learned) -> None:
    """Every point of the class comes once and whole, with its factor and its group; nothing barred is read."""
    wanted = [i for i, point in enumerate(profile.points) if point.scan == "live"]
    used = registers_of(profile, [profile.points[i] for i in wanted])
    assert sorted(i for carried in made.points for i in carried) == wanted
    for block, carried in zip(made.blocks, made.points, strict=True):
        hull = range(block.address, block.address + block.count)
        assert registers_of(profile, [profile.points[i] for i in carried]) <= set(hull)
        assert is_allowed(profile, learned, hull, used)
    for group in profile.together:
        assert any({profile.index[name] for name in group} <= set(carried) for carried in made.points)


@given(cases())
@settings(max_examples=80, deadline=None)
def test_no_plan_is_cheaper(case: tuple[Profile, Cost, Learned]) -> None:
    profile, cost, learned = case
    expected = least(profile, cost, learned)
    if expected is None:
        with pytest.raises(ProfileError, match="have to come from one request, but"):
            plan(profile, "live", cost, learned)
        return
    made = plan(profile, "live", cost, learned)
    assert_whole(profile, made, learned)
    assert (price(cost, [block.count for block in made.blocks], profile), len(made.blocks)) == expected


def words(*addresses: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"p{a}", "address": a, "type": "uint16", **more} for a in addresses]


def profile_of(*points: dict[str, Any], **head: Any) -> Profile:
    return Profile.model_validate(HEAD | head | {"point": list(points)})


def blocks_of(profile: Profile, cost: Cost = COST_TCP, learned: Learned | None = None) -> list[str]:
    return [str(block) for block in plan(profile, "live", cost, learned).blocks]


def test_a_gap_is_bridged_where_that_is_cheaper() -> None:
    profile = profile_of(*words(0, 9, 18))
    assert blocks_of(profile) == ["holding 0-18"]
    assert blocks_of(profile, Cost(9.0, 1.0)) == ["holding 0-18"]  # 8 registers bridged cost less than 9
    assert blocks_of(profile, Cost(7.0, 1.0)) == ["holding 0-0", "holding 9-9", "holding 18-18"]


def test_the_best_cut_is_not_always_the_last_one_possible() -> None:
    profile = profile_of(*words(0, 1, 8, 9, 10), max_registers=10)
    assert blocks_of(profile, Cost(20.0, 1.0)) == ["holding 0-1", "holding 8-10"]  # not 0-9 and 10-10


def test_groups_may_overlap_and_share_requests_where_they_fit() -> None:
    profile = profile_of(*words(0, 80, 90, 160), max_gap=124, together=[["p0", "p90"], ["p80", "p160"]])
    made = plan(profile, "live")
    assert [str(block) for block in made.blocks] == ["holding 0-90", "holding 80-160"]
    assert made.points == ((0, 2), (1, 3))


def test_groups_with_a_common_point_are_one() -> None:
    profile = profile_of(*words(0, 9, 18), together=[["p0", "p9"], ["p9", "p18"]])
    assert blocks_of(profile, Cost(0.0, 1.0)) == ["holding 0-18"]


@pytest.mark.parametrize(
    ("addresses", "head", "reason"),
    [
        ((0, 130), {"max_gap": 124}, "that is 131 in one request, max_registers is 125"),
        ((0, 20), {}, "19 unused lie between 0 and 20, max_gap allows 8"),
        ((0, 5), {"forbidden": [[2, 3]]}, "2-3 between 0 and 5 is forbidden"),
        ((0, 7), {}, "6-6 between 0 and 7 was found unreadable"),
    ],
)
def test_a_group_that_no_request_can_cover_is_refused(
    addresses: tuple[int, int], head: dict[str, Any], reason: str
) -> None:
    names = [f"p{a}" for a in addresses]
    profile = profile_of(*words(*addresses), together=[names], **head)
    with pytest.raises(ProfileError) as raised:
        plan(profile, "live", learned=Learned({"holding": [(6, 6)]}))
    assert str(raised.value) == f"test: {names[0]} and {names[1]} have to come from one request, but {reason}"


def test_what_was_found_unreadable_is_not_bridged() -> None:
    profile = profile_of(*words(0, 4, 9))
    assert blocks_of(profile, learned=Learned({"holding": [(2, 3)]})) == ["holding 0-0", "holding 4-9"]
    assert blocks_of(profile, learned=Learned({"input": [(2, 3)]})) == ["holding 0-9"]


def test_refused_points_are_set_aside_and_a_group_goes_on_without_them() -> None:
    profile = profile_of(*words(0, 4, 9), together=[["p0", "p4", "p9"]])
    made = plan(profile, "live", learned=Learned(refused={"p0": "exception 2"}))
    assert ([str(block) for block in made.blocks], made.refused) == (["holding 4-9"], (0,))
    everything = Learned(refused=dict.fromkeys(("p0", "p4", "p9"), "exception 2"))
    assert plan(profile, "live", learned=everything).blocks == ()


def test_limits_of_coils_are_their_own() -> None:
    coils = words(*range(0, 60, 10), table="coil")
    coils = [coil | {"type": "bool"} for coil in coils]
    assert blocks_of(profile_of(*coils, max_registers=1)) == ["coil 0-50"]
    assert blocks_of(profile_of(*coils, max_bits=31)) == ["coil 0-30", "coil 40-50"]


def line(transport: str, baud: int, parity: str = "E", stop_bits: int = 1, pause_s: float = 0.0) -> Any:
    return SimpleNamespace(transport=transport, baud=baud, parity=parity, stop_bits=stop_bits, pause_s=pause_s)


def test_the_cost_of_a_serial_line_follows_from_its_baud_rate() -> None:
    # 11 bits at 9600 baud are 1.1458 ms: 8 + 5 characters, 2 x 3.5 of silence, 10 ms of thought: 32.9 ms
    cost = Cost.of(line("rtu", 9600))
    assert cost.request_s == pytest.approx(20 * 11 / 9600 + 0.010)
    assert cost.register_s == pytest.approx(2 * 11 / 9600)
    assert cost.block_s(10) == pytest.approx(0.0558, abs=1e-4)
    assert cost.block_s(24, is_bits=True) == pytest.approx(cost.request_s + 3 * 11 / 9600)  # 3 bytes
    # above 19200 baud the silence is 1.75 ms, whatever the baud rate
    assert Cost.of(line("rtu", 115_200), turnaround_s=0.0).request_s == pytest.approx(13 * 11 / 115_200 + 0.0035)
    assert Cost.of(line("rtu", 9600, "N", 1)).register_s == pytest.approx(2 * 10 / 9600)


def test_an_agreed_pause_and_a_device_server_are_part_of_a_request() -> None:
    serial = Cost.of(line("rtu", 9600)).request_s
    assert Cost.of(line("rtu", 9600, pause_s=0.05)).request_s == pytest.approx(serial + 0.05)
    assert Cost.of(line("rtu-over-tcp", 9600)).request_s == pytest.approx(serial + 0.002)
    assert Cost.of(line("tcp", 9600, pause_s=0.05)) == Cost(0.002 + 0.05, COST_TCP.register_s)
    assert Cost.of(line("tls", 9600)) == COST_TCP


def test_ascii_takes_two_characters_for_each_byte() -> None:
    cost = Cost.of(line("ascii", 9600), turnaround_s=0.0)  # 7 bits, parity, start, stop: 10
    assert cost.register_s == pytest.approx(4 * 10 / 9600)
    # ":010300000001FB\r\n" is 17 characters, ":010302" + 4 a register + "F8\r\n" 11
    assert cost.request_s == pytest.approx(28 * 10 / 9600)
