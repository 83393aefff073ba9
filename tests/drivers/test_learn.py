"""What commissioning learns of a device whose map has holes, and what it remembers of that on disk."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.cost import Cost
from drivers.errors import DeviceRefused, DeviceUnreachable, ProfileError
from drivers.learn import Lesson, Note, learn
from drivers.learned import Learned, LearnedFile
from drivers.plan import Block, plan
from drivers.profile import Profile

HEAD = {"schema": 1, "kind": "meter", "model": "Holey 3", "source": "this test"}


class Device:
    """Answers every request that touches none of its holes."""

    def __init__(self, holes: set[int], code: int = 2, longest: int = 125) -> None:
        self.holes, self.code, self.longest = holes, code, longest
        self.asked: list[str] = []

    async def ask(self, block: Block) -> bytes:
        self.asked.append(str(block))
        span = range(block.address, block.address + block.count)
        if self.holes & set(span) or block.count > self.longest:
            error = DeviceRefused(f"{block}: exception {self.code}")
            error.fault = f"exception_{self.code}"
            raise error
        return bytes(2 * block.count)

    def answers(self, block: Block) -> bool:
        return not self.holes & set(range(block.address, block.address + block.count))


def profile_of(*points: dict[str, Any], **head: Any) -> Profile:
    return Profile.model_validate(HEAD | head | {"point": list(points)})


def words(*addresses: int, **more: Any) -> list[dict[str, Any]]:
    return [{"name": f"p{a}", "address": a, "type": "uint16", **more} for a in addresses]


def blocks_of(profile: Profile, lesson: Lesson, scan: str = "live") -> list[str]:
    return [str(block) for block in plan(profile, scan, learned=lesson.learned).blocks]


async def test_a_device_without_holes_costs_its_planned_requests() -> None:
    device = Device(set())
    lesson = await learn(profile_of(*words(0, 5, 40)), device.ask)
    assert device.asked == ["holding 0-5", "holding 40-40"]
    assert lesson == Lesson(Learned(), 2, (), True)


async def test_the_hole_in_a_gap_is_found_and_gone_around() -> None:
    device = Device({12, 13})
    profile = profile_of(*words(0, 1, 8, 9, 16, 20))
    lesson = await learn(profile, device.ask)
    assert lesson.learned == Learned({"holding": [(12, 13)]})
    assert lesson.notes == (Note("unreadable", "holding 12-13"),)
    assert blocks_of(profile, lesson) == ["holding 0-9", "holding 16-20"]
    assert lesson.complete and lesson.requests < 15


async def test_a_refused_point_is_set_aside_by_name_and_its_neighbours_are_read() -> None:
    profile = profile_of(*words(0, 1, 2, 3, 4))
    lesson = await learn(profile, Device({3}).ask)
    assert lesson.learned == Learned(refused={"p3": "holding 3-3: exception 2"})
    assert lesson.notes == (Note("refused", "p3", "holding 3-3: exception 2"),)
    assert blocks_of(profile, lesson) == ["holding 0-2", "holding 4-4"]


async def test_a_readable_point_of_another_scan_class_in_a_gap_is_not_lost() -> None:
    profile = profile_of(*words(0, 8), *words(4, scan="slow"))
    lesson = await learn(profile, Device({3, 5}).ask)
    assert lesson.learned == Learned({"holding": [(3, 3), (5, 5)]})
    assert blocks_of(profile, lesson, "slow") == ["holding 4-4"]
    refused = await learn(profile, Device({4}).ask)
    assert set(refused.learned.refused) == {"p4"}
    assert blocks_of(profile, refused) == ["holding 0-0", "holding 8-8"]


async def test_a_missing_scale_factor_sets_its_points_aside() -> None:
    user = {"name": "power_w", "address": 0, "type": "int16", "scale_from": "sf"}
    profile = profile_of(user, {"name": "sf", "address": 2, "type": "int16", "scan": "slow"}, *words(3))
    lesson = await learn(profile, Device({2}).ask)
    assert set(lesson.learned.refused) == {"sf"}
    made = plan(profile, "live", learned=lesson.learned)
    assert ([str(b) for b in made.blocks], made.refused) == (["holding 3-3"], (0,))


async def test_other_refusals_teach_nothing() -> None:
    lesson = await learn(profile_of(*words(0, 5)), Device({0}, code=6).ask)
    assert (lesson.learned, lesson.complete) == (Learned(), True)
    assert lesson.notes == (Note("other_refusal", "holding 0-5", "holding 0-5: exception 6"),)


async def test_a_device_that_takes_only_short_requests_is_told_apart() -> None:
    lesson = await learn(profile_of(*words(0, 1, 2, 3)), Device(set(), longest=2).ask)
    assert (lesson.learned, lesson.complete) == (Learned(), False)
    assert lesson.notes == (Note("too_long", "holding 0-3"),)


async def test_the_search_ends_after_so_many_requests() -> None:
    device = Device(set(range(1, 100, 2)))
    lesson = await learn(profile_of(*words(*range(0, 100, 2))), device.ask, most_requests=20)
    assert (lesson.requests, len(device.asked), lesson.complete) == (20, 20, False)
    assert lesson.notes[-1] == Note("stopped", "20")


async def test_a_device_that_goes_away_ends_the_search() -> None:
    async def ask(block: Block) -> bytes:
        raise DeviceUnreachable(f"{block}: no answer")

    with pytest.raises(DeviceUnreachable, match="holding 0-0: no answer"):
        await learn(profile_of(*words(0)), ask)


async def test_points_that_have_to_come_together_but_cannot_are_named() -> None:
    profile = profile_of(*words(0, 5), together=[["p0", "p5"]])
    with pytest.raises(ProfileError, match="p0 and p5 have to come from one request, but 3-3 between"):
        await learn(profile, Device({3}).ask)


@st.composite
def maps(draw: st.DrawFn) -> tuple[Profile, set[int]]:
    points: list[dict[str, Any]] = []
    address = 0
    for i in range(draw(st.integers(1, 12))):
        address += draw(st.integers(0, 9))
        kind, scan = draw(st.sampled_from(["uint16", "int32"])), draw(st.sampled_from(["live", "slow"]))
        points.append({"name": f"p{i}", "address": address, "type": kind, "scan": scan})
        address += 2 if kind == "int32" else 1
    holes = draw(st.sets(st.integers(0, address), max_size=8))
    return profile_of(*points, max_gap=draw(st.integers(0, 20))), holes


@given(maps(), st.sampled_from([Cost(1.0, 0.0), Cost(5.0, 1.0)]))
@settings(max_examples=60, deadline=None)
async def test_afterwards_every_request_is_answered_and_only_what_is_not_there_is_lost(
    case: tuple[Profile, set[int]], cost: Cost
) -> None:
    profile, holes = case
    device = Device(holes)
    lesson = await learn(profile, device.ask, cost)
    touching = {
        p.name for p in profile.points if not holes.isdisjoint(range(p.address or 0, (p.address or 0) + p.words))
    }
    assert lesson.complete and set(lesson.learned.refused) == touching
    for scan in profile.scans:
        made = plan(profile, scan, cost, lesson.learned)
        assert all(device.answers(block) for block in made.blocks)
        kept = {profile.points[i].name for carried in made.points for i in carried}
        assert kept == {p.name for p in profile.points if p.scan == scan} - touching
    again = await learn(profile, Device(holes).ask, cost)
    assert again == lesson


def test_what_was_learned_is_kept_on_disk_for_this_profile(tmp_path: Path) -> None:
    profile = profile_of(*words(0, 8))
    learned = Learned({"holding": [(3, 4)]}, {"p8": "exception 2"})
    file = LearnedFile.load(tmp_path / "learned.json")
    assert file.of("meter-1", profile) is None
    file.put("meter-1", profile, learned, "2026-03-01T08:30:00Z")
    file.put("meter-2", profile, Learned(), "2026-03-01T08:31:00Z")
    loaded = LearnedFile.load(tmp_path / "learned.json")
    assert loaded.of("meter-1", profile) == learned
    assert loaded.of("meter-2", profile) == Learned()
    other = profile_of(*words(0, 9))
    assert loaded.of("meter-1", other) is None and loaded.is_outdated("meter-1", other)
    assert not loaded.is_outdated("meter-1", profile) and not loaded.is_outdated("meter-3", profile)
    content = json.loads((tmp_path / "learned.json").read_text())
    assert content["devices"]["meter-1"] == {
        "profile": "Holey 3", "profile_hash": profile.hash, "learned_at": "2026-03-01T08:30:00Z",
        "unreadable": {"holding": [[3, 4]]}, "refused": {"p8": "exception 2"},
    }  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["learned.json"]


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"schema": 2, "devices": {}}', '{"schema": 1, "devices": {"m": {}}}',
     '{"schema": 1, "devices": {"m": {"profile_hash": "x", "unreadable": {"roof": []}, "refused": {}}}}'],
)  # fmt: skip
def test_a_damaged_file_is_named_with_its_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "learned.json"
    path.write_text(text)
    with pytest.raises(ProfileError, match=r"learned\.json: .*delete it and commission the device"):
        LearnedFile.load(path)
