"""The machine below the gateway: who sets its clock, how its disk is, and that it forwards nothing."""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.clock import TIME_ERROR, adjtimex
from edge.config import SpoolConfig
from edge.doctor_line import Line

MIB = 2**20
FULL = 0.8  # of the spool's bound
SLOW_SYNC_S = 2.0
ASK_S = 5.0  # for a tool of the system
STA_UNSYNC = 0x0040  # adjtimex(2)
WORN = 9  # eMMC: of 10 steps of 10 % each (JEDEC JESD84-B51, DEVICE_LIFE_TIME_EST)
TEST_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its own clock."""

    synchronised: bool
    error_ms: float  # the largest that it may be wrong


def kernel_clock() -> KernelClock:
    state, timex = adjtimex()
    return KernelClock(0 <= state < TIME_ERROR and not timex.status & STA_UNSYNC, timex.maxerror / 1000.0)


def run_tool(command: Sequence[str]) -> str | None:
    """What a tool of the system prints; None where it is not there, or does not answer."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=ASK_S, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Machine:
    """Where the machine is looked at: `/proc` and `/sys` below `root`, its tools, its clock."""

    root: Path = Path("/")
    tool: Callable[[Sequence[str]], str | None] = run_tool
    clock: Callable[[], KernelClock] = kernel_clock

    def read(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None


def clock_lines(machine: Machine, required: bool, status: dict[str, Any] | None) -> Iterator[Line]:
    """Who sets the clock, whether the kernel believes it, and whether the agent trusts it."""
    source, server = _time_source(machine)
    kernel = machine.clock()
    values = {"source": source or "-", "server": server or "-", "error_ms": kernel.error_ms}
    if kernel.synchronised:
        key = "clock_set" if source else "clock_set_by_nobody_known"
        yield Line("clock", "", "good", key, values)
    elif not required:
        yield Line("clock", "", "note", "clock_isolated", values)
    else:
        yield Line("clock", "", "bad", "clock_unset" if source else "clock_no_daemon", values)
    if status is None:
        return
    if not status["clock_known"]:
        yield Line("clock_trust", "", "bad", "trust_waits", {"held": status.get("held", 0)})
    elif status["clock_trusted"]:
        yield Line("clock_trust", "", "good", "trusted")
    else:
        yield Line("clock_trust", "", "bad" if required else "note", "trust_lost")


def _time_source(machine: Machine) -> tuple[str, str]:
    """The time daemon, and the server that it follows; "" for what is not known."""
    told = machine.tool(["chronyc", "-c", "-n", "tracking"])
    if told:
        parts = told.strip().split(",")
        return "chrony", parts[1] if len(parts) > 1 and parts[-1] != "Not synchronised" else ""
    told = machine.tool(["timedatectl", "show"])
    if told and "\nNTP=yes" in f"\n{told}":
        named = machine.tool(["timedatectl", "show-timesync", "--property=ServerName", "--value"])
        return "systemd-timesyncd", (named or "").strip()
    told = machine.tool(["ntpq", "-pn"])
    if told:
        chosen = [line.split()[0][1:] for line in told.splitlines() if line.startswith("*")]
        return "ntpd", chosen[0] if chosen else ""
    return "", ""


def forward_lines(machine: Machine) -> Iterator[Line]:
    """A gateway stands in two networks and must not become a way between them."""
    on = [
        name for name, path in (("IPv4", "proc/sys/net/ipv4/ip_forward"),
                                ("IPv6", "proc/sys/net/ipv6/conf/all/forwarding"))
        if machine.read(path) not in (None, "0")
    ]  # fmt: skip
    if on:
        yield Line("forwarding", "", "bad", "forwards", {"which": " + ".join(on)})
    else:
        yield Line("forwarding", "", "good", "forwards_nothing")


def disk_lines(machine: Machine, spool: Path, settings: SpoolConfig) -> Iterator[Line]:
    """Room, the spool against its bound, read-only, a write that is synced, and how worn the disk says it is."""
    folder = spool.parent
    try:
        free, inodes = shutil.disk_usage(folder).free, os.statvfs(folder)
    except OSError as error:
        yield Line("disk", "", "bad", "disk_no_folder", {"folder": str(folder), "why": error.strerror})
        return
    values = {"free_mib": free / MIB, "least_mib": settings.min_free_mib, "folder": str(folder)}
    if inodes.f_files and not inodes.f_favail:
        yield Line("disk", "", "bad", "disk_no_inodes", values)
    else:
        short = free < settings.min_free_mib * MIB
        yield Line("disk", "", "bad" if short else "good", "disk_short" if short else "disk_free", values)
    used = sum(p.stat().st_size for p in (spool, spool.with_name(spool.name + "-wal")) if p.exists())
    values = {"used_mib": used / MIB, "most_mib": settings.max_mib}
    full = used > FULL * settings.max_mib * MIB
    yield Line("spool", "", "bad" if full else "good", "spool_full" if full else "spool", values)
    point, kind, read_only = _mount(machine, folder)
    if read_only:
        yield Line("mount", "", "bad", "mount_read_only", {"mount": point})
    else:
        yield _write_test(folder)
    yield from _wear(machine, folder, kind)


def _write_test(folder: Path) -> Line:
    """Written, synced, read back: what a full, worn-out or foreign disk does not do."""
    file = folder / f".doctor-{os.getpid()}"
    content = os.urandom(TEST_BYTES)
    start_s = time.monotonic()
    try:
        with file.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        took_s = time.monotonic() - start_s
        same = file.read_bytes() == content
    except OSError as error:
        return Line("write", "", "bad", "write_refused", {"folder": str(folder), "why": error.strerror})
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)
    if not same:
        return Line("write", "", "bad", "write_differs", {"folder": str(folder)})
    key = "write_slow" if took_s > SLOW_SYNC_S else "write"
    return Line("write", "", "note" if took_s > SLOW_SYNC_S else "good", key, {"ms": 1000.0 * took_s})


def _mount(machine: Machine, folder: Path) -> tuple[str, str, bool]:
    """Mount point, kind of file system, and whether it is read-only. See proc(5), mountinfo."""
    here, best = folder.absolute(), ("/", "", False)
    for line in (machine.read("proc/self/mountinfo") or "").splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 6 or len(tail) < 3:
            continue
        point = fields[4].encode().decode("unicode_escape")
        if here.is_relative_to(point) and len(point) >= len(best[0]):
            read_only = "ro" in fields[5].split(",") or "ro" in tail[2].split(",")
            best = point, tail[0], read_only
    return best


def _wear(machine: Machine, folder: Path, kind: str) -> Iterator[Line]:
    """What /sys tells of the block device below a folder; SD cards tell little."""
    device = folder.stat().st_dev
    disk = (machine.root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}").resolve()
    if not disk.is_dir():
        yield Line("wear", "", "note", "wear_unknown", {"kind": kind or "-"})
        return
    name = disk.name
    if kind == "ext4" and (errors := machine.read(f"sys/fs/ext4/{name}/errors_count")) not in (None, "0"):
        yield Line("wear", name, "bad", "wear_errors", {"errors": errors})
    if (disk / "partition").exists():
        disk = disk.parent
    told = _number_of(disk / "device" / "pre_eol_info"), _number_of(disk / "device" / "life_time")
    if told == (0, 0):
        yield Line("wear", disk.name, "note", "wear_unknown", {"kind": kind or "-"})
    elif told[0] > 1 or told[1] >= WORN:
        yield Line("wear", disk.name, "bad", "worn", {"percent": 10 * told[1]})
    else:
        yield Line("wear", disk.name, "good", "wear", {"percent": 10 * told[1]})


def _number_of(file: Path) -> int:
    """The largest of the hex numbers in a file, 0 where there is none: eMMC tells two areas."""
    try:
        return max((int(word, 16) for word in file.read_text().split()), default=0)
    except (OSError, ValueError):
        return 0
