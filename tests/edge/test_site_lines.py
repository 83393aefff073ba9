"""A problem of a site file is told with the line and the name that a person looks for."""

import tomllib
from pathlib import Path

import pytest

from edge.site_lines import located

TEXT = """schema = 1 # [[device]]
site = { name = "calais", gateway = "gw" }

[[device]]
name = "meter-1"
host = "10.20.0.7"
[device.meter]
role = "delivery"
[[device.meter.replaced]]
reason = "[lightning]"

[[device]]   # the second
profile = "generic-lock"
[device.lock]
chamber_area_m2 = 1735.2

[[berth]]
name = "b1"
"""


@pytest.mark.parametrize(
    ("problem", "told"),
    [
        ("schema = 2: no", "s.toml:1: schema = 2: no"),
        ("site.name = 'x': no", "s.toml:2: site.name = 'x': no"),
        ("broker: Field required", "s.toml: broker: Field required"),
        ("device[0].host = 'a': no", "s.toml:6: device meter-1: host = 'a': no"),
        ("device[0].meter.role = 'a': no", "s.toml:8: device meter-1: meter.role = 'a': no"),
        ("device[0].meter.parent = 'a': no", "s.toml:7: device meter-1: meter.parent = 'a': no"),
        ("device[0].meter.replaced[0].at: no", "s.toml:9: device meter-1: meter.replaced[0].at: no"),
        ("device[1].name: Field required", "s.toml:12: device[1].name: Field required"),
        ("device[1].lock.chamber_area_m2 = 0: no", "s.toml:15: device[1].lock.chamber_area_m2 = 0: no"),
        ("device[0]: no", "s.toml:4: device meter-1: no"),
        ("berth[0].meter = 'm': no: at all", "s.toml:17: berth b1: meter = 'm': no: at all"),
        ("berth[4].meter = 'm': no", "s.toml: berth[4].meter = 'm': no"),
        ("vessel.plc_names = 'A': names two", "s.toml: vessel.plc_names = 'A': names two"),
    ],
)
def test_a_key_is_found_where_it_stands_or_is_missing(problem: str, told: str) -> None:
    assert located([f"s.toml: {problem}"], Path("s.toml"), TEXT, tomllib.loads(TEXT)) == [told]


def test_what_is_no_problem_of_a_key_stays_as_it_is() -> None:
    for problem in ("other.toml: device[0].host: no", "s.toml: cannot be read"):
        assert located([problem], Path("s.toml"), TEXT, tomllib.loads(TEXT)) == [problem]


def test_tables_that_are_no_tables_are_left_alone() -> None:
    assert located(["s.toml: device[0].x: no"], Path("s.toml"), "device = 3", {"device": 3}) == [
        "s.toml:1: device[0].x: no"
    ]
