"""A device that somebody on this machine reads already is left alone."""

import socket
from pathlib import Path

import pytest

from firmware_sim.hil.in_use import connections, reason_in_use
from firmware_sim.hil.settings import parse_target

TARGET = parse_target("modbus://10.20.0.7:502/1")


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with one agent in it."""
    (tmp_path / "net").mkdir()
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    (tmp_path / "net" / "tcp").write_text(head)
    process = tmp_path / "4711"
    process.mkdir()
    (process / "cmdline").write_bytes(b"python\0-m\0edge.cli\0run\0--site\0site.toml\0")
    (process / "cwd").symlink_to(tmp_path)
    return tmp_path


def site(proc: Path, host: str, port: int = 502) -> None:
    (proc / "site.toml").write_text(f'[[device]]\nname = "lock-3"\nhost = "{host}"\nport = {port}\n')


def test_a_running_agent_that_reads_the_device_is_named(proc: Path) -> None:
    site(proc, "10.20.0.7")
    reason = reason_in_use(TARGET, proc)
    assert reason is not None
    assert "process 4711" in reason and "lock-3" in reason and "stop it first" in reason


def test_an_agent_of_other_devices_does_not_matter(proc: Path) -> None:
    site(proc, "10.20.0.8")
    assert reason_in_use(TARGET, proc) is None
    site(proc, "10.20.0.7", 503)
    assert reason_in_use(TARGET, proc) is None


def test_an_agent_whose_site_file_cannot_be_read_forbids_the_run(proc: Path) -> None:
    reason = reason_in_use(TARGET, proc)
    assert reason is not None
    assert "cannot be read" in reason


def test_an_open_connection_to_the_device_forbids_the_run(proc: Path) -> None:
    site(proc, "10.20.0.8")
    line = "   0: 0100007F:D431 0700140A:01F6 01 00000000:00000000 00:00000000 00000000     0        0 1 1\n"
    with (proc / "net" / "tcp").open("a") as file:
        file.write(line)
    reason = reason_in_use(TARGET, proc)
    assert reason is not None
    assert "already has a connection" in reason


def test_the_kernels_table_shows_a_connection_of_ours() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ("127.0.0.1", port) not in connections()
        with socket.create_connection(("127.0.0.1", port)):
            assert ("127.0.0.1", port) in connections()
