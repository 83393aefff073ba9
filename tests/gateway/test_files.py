"""Files that belong together are all new, or all as they were."""

import errno
import os
from pathlib import Path

import pytest

from gateway.files import Content, write_whole


def test_files_are_replaced_and_secrets_are_for_their_owner_only(tmp_path: Path) -> None:
    key, certificate = tmp_path / "a.key", tmp_path / "a.pem"
    certificate.write_text("old")
    write_whole([Content(key, b"secret", secret=True), Content(certificate, b"new")])
    assert (key.read_bytes(), certificate.read_bytes()) == (b"secret", b"new")
    assert key.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == ["a.key", "a.pem"]


def test_a_disk_that_fills_up_between_two_files_changes_neither(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "a.key", tmp_path / "a.pem"
    write_whole([Content(key, b"old key"), Content(certificate, b"old certificate")])
    synced: list[int] = []

    def sync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="No space left"):
        write_whole([Content(key, b"new key"), Content(certificate, b"new certificate")])
    assert (key.read_bytes(), certificate.read_bytes()) == (b"old key", b"old certificate")
    assert sorted(os.listdir(tmp_path)) == ["a.key", "a.pem"]
