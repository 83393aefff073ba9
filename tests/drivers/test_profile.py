"""Every mistake in a profile is named, with its place and its remedy, all at once."""

from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ProfileError
from drivers.profile import Point, Profile, load_profile, parse_profile, shipped_profiles

HEAD = {"schema": 1, "kind": "meter", "model": "test", "source": "this test"}
TOML_HEAD = 'schema = 1\nkind = "meter"\nmodel = "test"\nsource = "this test"\n'
GOOD_POINT = '[[point]]\nname = "power_w"\naddress = 0\ntype = "int32"\n'


def problems_of(text: str) -> list[str]:
    with pytest.raises(ProfileError) as raised:
        parse_profile(text, "x.toml")
    return str(raised.value).splitlines()


def point(**fields: Any) -> dict[str, Any]:
    return {"name": "x", "address": 0, "type": "uint16"} | fields


def why(*points: dict[str, Any], **head: Any) -> str:
    with pytest.raises(ValueError) as raised:
        Profile.model_validate(HEAD | head | {"point": list(points)})
    return str(raised.value)


@pytest.mark.parametrize("name", shipped_profiles())
def test_every_shipped_profile_loads_and_says_where_it_comes_from(name: str) -> None:
    profile = load_profile(name)
    assert profile.source and "live" in profile.scans and len(profile.hash) == 16
    assert all(p.fr and p.en for p in profile.points)
    assert list(profile.index) == [p.name for p in profile.points]


def test_there_is_a_generic_profile_of_each_kind() -> None:
    assert {load_profile(name).kind for name in shipped_profiles()} == {"charger", "meter", "battery", "lock"}


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ProfileError, match=r"profile 'generic-charge' is not known; use .*generic-charger"):
        load_profile("generic-charge")


def test_a_file_is_found_beside_the_one_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(TOML_HEAD + GOOD_POINT, encoding="utf-8")
    assert load_profile("mine.toml", tmp_path).points[0].name == "power_w"
    with pytest.raises(ProfileError, match=r"other\.toml: cannot be read: No such file"):
        load_profile("other.toml", tmp_path)


def test_what_is_not_toml_is_said_with_its_line() -> None:
    (line,) = problems_of("schema = \n")
    assert line.startswith("x.toml: not TOML:") and "line 1" in line


def test_all_problems_are_named_at_once() -> None:
    wrong = '[[point]]\nname = "Power W"\naddress = 70000\ntype = "int23"\nscal = 10\n'
    lines = problems_of(TOML_HEAD.replace('"meter"', '"metre"') + GOOD_POINT + wrong)
    places = ["kind", "point[1].name", "point[1].type", "point[1].address", "point[1].scal"]
    assert sorted(line.split(": ")[1].split(" =")[0] for line in lines) == sorted(places)
    assert any("'metre'" in line and "charger, meter, battery or lock" in line for line in lines)
    assert any("point[1].scal = 10" in line and "scale" in line for line in lines)


def test_missing_keys_are_named() -> None:
    lines = problems_of(GOOD_POINT.replace('type = "int32"\n', ""))
    assert {line.split(": ")[1] for line in lines} >= {"schema", "kind", "model", "source", "point[0].type"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "string"}, "length"),
        ({"length": 4}, "length"),
        ({"bit": 3}, "bit goes with"),
        ({"type": "bool", "bit": 16}, "less than or equal to 15"),
        ({"range": (2, 1)}, "range is"),
        ({"scale": 0.0}, "scale is finite and not 0"),
        ({"scale": float("nan")}, "scale is finite and not 0"),
        ({"order": "bacd"}, "abcd"),
        ({"name": "Grün"}, "pattern"),
        ({"deadband": -1.0}, "greater than or equal to 0"),
        ({"type": "string", "length": 2, "scale_from": "sf"}, "scale_from goes with a number, not with string"),
        ({"type": "bool", "scale_from": "sf"}, "scale_from goes with a number, not with bool"),
    ],
)
def test_a_point_that_does_not_fit_together(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Point.model_validate(point(**fields))


def test_points_that_do_not_fit_the_profile() -> None:
    assert "ends at register 65536" in why(point(address=65_535, type="int32"))
    assert "has 4 registers, max_registers is 2" in why(point(type="int64"), max_registers=2)
    assert "at 9-10 lies in forbidden 10-12" in why(point(address=9, type="int32"), forbidden=[(10, 12)])
    assert "has address, and no node" in why(point(node="ns=2;s=x"))
    assert "has node, and no address" in why(point(), protocol="opcua")
    assert "point x stands twice" in why(point(), point(address=9))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"name": "other"}, "scale_from = 'sf' is no point of this profile"),
        ({"type": "int32"}, "'sf' has to be an int16 that is not scaled itself"),
        ({"scale": 10.0}, "'sf' has to be an int16 that is not scaled itself"),
        ({"table": "input"}, "'sf' is in another table"),
    ],
)
def test_a_scale_factor_is_a_whole_register_beside_its_points(source: dict[str, Any], message: str) -> None:
    user = point(scale_from="sf", type="int16")
    fine = {"name": "sf", "address": 9, "type": "int16"}
    assert Profile.model_validate(HEAD | {"point": [user, fine]}).points[0].wire_type == "float"
    assert message in why(user, fine | source)
    opcua = why({"name": "x", "type": "int16", "node": "ns=2;s=x", "scale_from": "sf"}, protocol="opcua")
    assert "has no scale_from; the server scales its values" in opcua
    opcua = why({"name": "x", "type": "bcd16", "node": "ns=2;s=x"}, protocol="opcua")
    assert "OPC UA has no bcd16" in opcua


def test_points_read_together_are_known_and_of_one_scan_class_and_table() -> None:
    two = [point(), point(name="y", address=1)]
    assert Profile.model_validate(HEAD | {"point": two, "together": [["x", "y"]]}).together == (("x", "y"),)
    assert "together = [x, z]: z is no point" in why(*two, together=[["x", "z"]])
    assert "together = [x, x] names one point" in why(*two, together=[["x", "x"]])
    assert "several scan classes" in why(two[0], two[1] | {"scan": "slow"}, together=[["x", "y"]])
    assert "several tables" in why(two[0], two[1] | {"table": "input"}, together=[["x", "y"]])


def test_forbidden_zones_hold_for_all_tables_or_for_one() -> None:
    everywhere = Profile.model_validate(HEAD | {"point": [point()], "forbidden": [[5, 9]]})
    assert everywhere.forbidden_in("input") == everywhere.forbidden_in("holding") == ((5, 9),)
    one = Profile.model_validate(HEAD | {"point": [point()], "forbidden": {"input": [[0, 9]]}})
    assert (one.forbidden_in("input"), one.forbidden_in("holding")) == (((0, 9),), ())
    assert "lies in forbidden 0-9" in why(point(table="input"), forbidden={"input": [[0, 9]]})
    assert "[9, 5] is not [first, last]" in why(point(), forbidden=[[9, 5]])


def test_one_invalid_word_or_a_list_of_them() -> None:
    assert Point.model_validate(point(invalid=0x8000)).invalid == (0x8000,)
    assert Point.model_validate(point(invalid=[0x8000, -1])).invalid == (0x8000, -1)
    assert Point.model_validate(point()).invalid == ()


def test_addresses_are_printed_as_the_source_counts_them() -> None:
    assert Profile.model_validate(HEAD | {"point": [point()]}).printed(3027) == 3027
    assert Profile.model_validate(HEAD | {"point": [point()], "numbering": "one"}).printed(3027) == 3028


@pytest.mark.parametrize(
    ("first", "second", "overlap"),
    [
        ({}, {}, True),
        ({"type": "int32"}, {"address": 1}, True),
        ({"address": 1}, {"type": "int32"}, True),
        ({"type": "int64"}, {"address": 3, "type": "int64"}, True),
        ({"type": "int32"}, {"address": 2}, False),
        ({}, {"table": "input"}, False),
        ({"type": "bool", "bit": 0}, {"type": "bool", "bit": 1}, False),
        ({"type": "bool", "bit": 1}, {"type": "bool", "bit": 1}, True),
        ({"type": "bool", "bit": 1}, {}, True),
        ({}, {"type": "bool", "bit": 1}, True),
        ({"type": "int32"}, {"address": 1, "type": "bool", "bit": 0}, True),
    ],
)
def test_overlaps(first: dict[str, Any], second: dict[str, Any], overlap: bool) -> None:
    points = [point(**first, name="one"), point(**second, name="two")]
    if overlap:
        assert "points one and two overlap at holding register" in why(*points)
    else:
        assert len(Profile.model_validate(HEAD | {"point": points}).points) == 2


@pytest.mark.parametrize(
    ("fields", "wire_type"),
    [
        ({"type": "uint64"}, "int"),
        ({"type": "int32", "scale": 10.0}, "int"),
        ({"type": "int16", "scale": 0.1}, "float"),
        ({"type": "int16", "offset": 0.5}, "float"),
        ({"type": "float32"}, "float"),
        ({"type": "bool"}, "int"),
        ({"type": "bcd32"}, "int"),
        ({"type": "float16"}, "float"),
        ({"type": "int16", "scale_from": "sf"}, "float"),
        ({"type": "string", "length": 3}, "str"),
    ],
)
def test_the_type_on_the_wire_is_fixed_by_the_profile(fields: dict[str, Any], wire_type: str) -> None:
    assert Point.model_validate(point(**fields)).wire_type == wire_type


def test_the_unit_is_in_the_name() -> None:
    names = {
        "power_w": "W",
        "energy_total_wh": "Wh",
        "reactive_total_varh": "varh",
        "plug_temp_c": "°C",
        "state": "",
    }
    for name, unit in names.items():
        assert Point.model_validate(point(name=name)).unit == unit


def test_the_hash_follows_the_content_and_not_the_comments() -> None:
    one = parse_profile(TOML_HEAD + GOOD_POINT, "x.toml")
    assert one.hash == parse_profile("# a note\n" + TOML_HEAD + GOOD_POINT, "y.toml").hash
    assert one.hash != parse_profile(TOML_HEAD + GOOD_POINT.replace("int32", "uint32"), "x.toml").hash
    assert one.hash == parse_profile(TOML_HEAD + "max_bits = 2000\n" + GOOD_POINT, "x.toml").hash  # the default
