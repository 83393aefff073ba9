"""`bollard edge run` with one loop that stops coming round: what a bug in a driver or a kernel might do."""

import asyncio
import sys
import time
from typing import Any

from edge import cli, polling, rounds
from edge.compute import Compute
from edge.poll import Poller


def block(*_: Any) -> list[Any]:
    """A kernel that never returns: nothing else runs in the event loop either."""
    time.sleep(3600.0)
    return []


async def never(*_: Any) -> None:
    """A driver that waits for what does not come, without a deadline."""
    await asyncio.sleep(3600.0)


def main() -> None:
    what = sys.argv.pop(1)
    if what == "compute":
        Compute.feed = block  # type: ignore[assignment]
    if what == "poll":
        Poller._scan = never  # type: ignore[assignment]
        rounds.WORK_S, polling.WORK_S, polling.SEVERAL = 1.0, 1.0, 1
    cli.main()


if __name__ == "__main__":
    main()
