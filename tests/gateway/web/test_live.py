"""What is known of every device now."""

from typing import Any

from shore import GATEWAY, SITE, T, catalogue, row

from edge.wire import Catalogue
from gateway.live import NS, Live, is_stale, readings_of


def live() -> Live:
    made = Live()
    made.take_catalogue(catalogue())
    return made


def known(made: Live) -> dict[str, Any]:
    return {name: (r.value, r.quality) for name, r in made.devices[SITE, "charger-1"].readings.items()}


def test_a_point_that_is_not_in_a_row_was_not_scanned_and_keeps_what_was_known() -> None:
    made = live()
    made.take([row(T, power_w=7.0, state=4), row(T + NS, power_w=8.0)])
    assert known(made) == {"power_w": (8.0, "good"), "state": (4, "good")}


def test_a_point_whose_quality_is_not_good_is_unknown_and_not_the_last_value() -> None:
    made = live()
    made.take([row(T, power_w=7.0, state=4), row(T + NS, state=5, q="b0f")])
    assert known(made) == {"power_w": (None, "no_answer"), "state": (5, "good")}


def test_what_is_older_late_or_somebody_elses_changes_nothing() -> None:
    made = live()
    made.take([row(T + NS, power_w=8.0), row(T, power_w=7.0), row(T + 2 * NS, power_w=9.0, late=1)])
    made.take([row(T + 2 * NS, device="stranger", power_w=9.0)])
    assert known(made) == {"power_w": (8.0, "good")}
    assert list(made.devices) == [(SITE, "charger-1")]


def test_a_device_is_stale_after_three_scans_at_once_when_its_gateway_is_gone_and_before_its_first_row() -> None:
    made = live()
    device = made.devices[SITE, "charger-1"]
    assert is_stale(device, T, 1.0, online=True)
    made.take([row(T, power_w=7.0)])
    limit_ns = int(device.limit_s(1.0) * NS)
    assert not is_stale(device, T + limit_ns, 1.0, online=True)
    assert is_stale(device, T + limit_ns + 1, 1.0, online=None)
    assert is_stale(device, T, 1.0, online=False)


def test_a_new_catalogue_keeps_what_is_known_and_drops_what_has_left() -> None:
    made = live()
    made.take([row(T, power_w=7.0)])
    made.take_catalogue(catalogue(power_w="float", limit_w="float"))
    assert known(made) == {"power_w": (7.0, "good")}
    assert [p["name"] for p in made.devices[SITE, "charger-1"].points] == ["power_w", "limit_w"]
    before = made.catalogues
    made.take_catalogue(Catalogue(SITE, GATEWAY, "f00d", {}, ()))
    assert not made.devices and made.catalogues == before + 1


def test_sites_that_are_not_shown_are_not_kept() -> None:
    made = Live(("elsewhere",))
    made.take_catalogue(catalogue())
    made.take_status(SITE, GATEWAY, {"state": "online"})
    assert not made.devices and not made.gateways


def test_a_row_with_digits_of_another_catalogue_is_read_by_its_fields_alone() -> None:
    points = list(catalogue().devices[0]["points"])
    assert list(readings_of(points, row(T, power_w=1.0, q="00000"))) == [("power_w", 1.0, "good")]
