"""What a service manager hears of the agent: that it is ready, reloads or stops, and that it lives.

systemd's protocol, sd_notify(3): a line a message to the socket that NOTIFY_SOCKET names. Started by hand there is
none, and all of this says nothing.
"""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Mapping

from edge.rounds import Rounds

log = logging.getLogger(__name__)
COMPILING_S = 1800  # what a slow gateway may take to compile the kernels, if installation could not
STARTING_S = 60  # each call asks for so much; a start may have to wait for its disk
FEEDS = 4  # messages per WATCHDOG_USEC


class Notify:
    """The socket of the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + name[1:] if name.startswith("@") else name
        for_us = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environ.get("WATCHDOG_USEC", "0") if for_us and self._address else "0"
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() else 0.0  # 0: nobody watches

    def say(self, *lines: str) -> None:
        """Never waits, never fails: who is not heard lives on."""
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.setblocking(False)
            out.sendto("\n".join(lines).encode(), self._address)

    def ready(self, status: str) -> None:
        self.say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        self.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self.say("STOPPING=1")

    def starts_within(self, seconds: int) -> None:
        """The start takes longer than the unit allows: give it so many seconds from now."""
        self.say(f"EXTEND_TIMEOUT_USEC={seconds * 1_000_000}")

    async def start_lasts(self) -> None:
        """Ask for more time, until cancelled: a full disk may keep the agent from its spool for days."""
        while True:
            self.starts_within(STARTING_S)
            await asyncio.sleep(STARTING_S / 4)

    async def feed(self, rounds: Rounds) -> None:
        """Feed the watchdog for as long as every loop comes round; who hears nothing starts us anew."""
        told: list[str] = []
        while self.watchdog_s:
            late = rounds.late()
            if not late:
                self.say("WATCHDOG=1")
            elif late != told:
                log.error("event=loop_hangs loops=%r hint='the service manager starts the agent anew'", late)
            told = late
            await asyncio.sleep(self.watchdog_s / FEEDS)
