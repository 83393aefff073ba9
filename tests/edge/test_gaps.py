"""Gaps are filled page by page, over as many links as it takes."""

from typing import Any

import pytest

from drivers.errors import DeviceUnreachable
from drivers.row import Quality, Row, empty_row
from edge import gaps
from edge.gaps import Gaps

PAGE = 3


class Server:
    """Keeps a row for each instant of 1..99, and tells the newest three of an interval, both ends left out."""

    def __init__(self) -> None:
        self.history_due, self.fails, self.asked = True, False, 0

    async def history(self, from_ns: int, to_ns: int) -> list[Row]:
        self.asked += 1
        if self.fails:
            raise DeviceUnreachable("gone")
        return [empty_row(1, t, Quality.GOOD, "history") for t in range(max(1, from_ns + 1), min(100, to_ns))][
            -PAGE:
        ]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaps, "BETWEEN_PAGES_S", 0.0)


async def filled(found: Gaps, server: Any, turns: int) -> list[int]:
    rows: list[Row] = []
    for _ in range(turns):
        await found.fill(server, rows.append)
    return [row.t_ns for row in rows]


async def test_a_long_gap_comes_in_pages_newest_first_and_whole() -> None:
    found, server = Gaps("bms"), Server()
    found.add(10, 20)
    told = await filled(found, server, 6)
    assert told == [17, 18, 19, 14, 15, 16, 11, 12, 13]
    assert server.asked == 4  # the last said that there is no more
    found.add(40, 42)
    found.add(50, 52)
    assert await filled(found, server, 6) == [51, 41]  # the newest gap first


async def test_what_a_lost_link_left_is_asked_of_the_next() -> None:
    found, server = Gaps("bms"), Server()
    found.add(10, 20)
    assert await filled(found, server, 1) == [17, 18, 19]
    server.fails = True
    with pytest.raises(DeviceUnreachable):
        await filled(found, server, 1)
    server.fails, server.history_due = False, False
    assert await filled(found, server, 3) == []
    server.history_due = True
    assert await filled(found, server, 9) == [14, 15, 16, 11, 12, 13]


async def test_a_device_without_history_has_none() -> None:
    found = Gaps("meter")
    found.add(10, 20)
    assert await filled(found, object(), 2) == []


async def test_the_oldest_of_too_many_gaps_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    found = Gaps("bms")
    for n in range(gaps.MOST_GAPS + 1):
        found.add(10 * n, 10 * n + 2)
    assert "event=gap_given_up from_ns=0 to_ns=2" in caplog.text
