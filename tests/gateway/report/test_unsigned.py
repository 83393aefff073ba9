"""Energy of a meter that nobody has signed for is provisional, and a report says so."""

from typing import Any

import pytest

from edge.wire import Catalogue
from gateway.report.markdown import render_markdown
from gateway.report.model import build

PORT = "demo-port"


@pytest.mark.parametrize(
    ("commissioned", "provisional"),
    [({"state": "none"}, True), ({"state": "no_load"}, True), ({"state": "outdated"}, True),
     ({"state": "signed"}, False), (None, False)],
)  # fmt: skip
def test_an_unsigned_meter_is_named_among_the_reservations(
    port: Any, paris_ns: Any, commissioned: dict[str, str] | None, provisional: bool
) -> None:
    """A gateway that does not know of signatures says nothing, and nothing is said of it."""
    port.site()
    (known,) = port.book.catalogues(PORT)
    device = {"name": "meter-1", "kind": "meter", "points": []}
    device |= {"commissioned": commissioned} if commissioned else {}
    port.book.put_catalogue(Catalogue(PORT, known.gateway, known.hash, known.settings, (device,)))
    port.minutes(paris_ns("2026-10-05T12:00"), [1000] * 10)
    report = build(port.store, port.book, "2026-10", PORT)
    assert report.unsigned == (("meter-1",) if provisional else ())
    assert ("meter-1 : énergie provisoire" in render_markdown(report, "fr")) is provisional
    assert ("meter-1: energy is provisional" in render_markdown(report, "en")) is provisional
