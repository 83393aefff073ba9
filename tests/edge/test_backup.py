"""`bollard backup` and `restore`: whole or refused, keys for us alone, and a spool that counts nothing twice."""

import errno
import json
import os
import shutil
import sqlite3
import tarfile
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import typer
from edge_rows import NS, START_NS, load
from shore import catalogue, row
from typer.testing import CliRunner

from edge import wire
from edge.archive import Archive, ArchiveError, Part, copy_sqlite, write_archive
from edge.backup_cli import backup, restore
from edge.config import LoadedSite
from edge.signing import make_key, sign, verify
from edge.spool import Entry, Held, Spool
from gateway.book import Book
from gateway.pki import Pki
from gateway.store import open_store

app = typer.Typer()
app.command()(backup)
app.command()(restore)
OWNER = "port/gw"


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def line(second: int, kind: str = "meter") -> Entry:
    t_ns = START_NS + second * NS
    tags = {"site": "port", "gateway": "gw", "device": "meter", "origin": "sim"}
    return Entry("live", t_ns, wire.encode_row(kind, tags, {"power_w": float(second)}, t_ns), True)


@pytest.fixture
def gateway(tmp_path: Path) -> LoadedSite:
    folder = tmp_path / "gw"
    folder.mkdir()
    loaded = load(folder)
    pki = Pki.init(tmp_path / "pki")
    pki.issue("gateway", "port/gw")
    text = (folder / "site.toml").read_text()
    tls = 'tls_ca = "../pki/ca.pem"\ntls_cert = "../pki/port.gw.pem"\ntls_key = "../pki/port.gw.key"\n'
    (folder / "site.toml").write_text(text.replace("[clock]", f"{tls}[clock]", 1))
    return LoadedSite.load(loaded.path)


def test_a_restored_spool_goes_on_under_another_name_and_counts_nothing_twice(
    gateway: LoadedSite, tmp_path: Path
) -> None:
    spool = Spool(gateway.spool_path, OWNER)
    held = Held("live", "boot-1", 5, line(9).line)
    spool.commit([line(1), line(2)], checkpoint=b'{"energy": 1}')
    sent = spool.seal("live", 500)
    spool.commit([line(3), line(4)], held=[held])  # waits: the open transaction of an agent at work
    assert sent is not None
    code, out = run("backup", tmp_path / "a.tar", "--site", gateway.path, "--lang", "en")
    assert code == 0 and "spool: " in out and "keep it like a key" in out
    later = spool.commit([line(5)], checkpoint=b'{"energy": 2}', receipts=[receipt(spool.id, sent)])
    assert later.freed == [sent.id]
    code, out = run("restore", tmp_path / "a.tar", "--force", "--lang", "en")
    assert code == 2 and "another bollard edge run is using it" in out
    old_id = spool.id
    spool.close()
    assert run("restore", tmp_path / "a.tar", "--lang", "en")[0] == 2  # is there
    code, out = run("restore", tmp_path / "a.tar", "--force", "--lang", "en")
    assert code == 0 and "4 rows will be sent" in out and "1 rows without a time dropped" in out, out

    again = Spool(gateway.spool_path, OWNER)
    assert again.id != old_id
    assert again.replay() == (None, [])  # the energy since the backup is ashore already
    assert not again.confirm(receipt(old_id, sent))  # an old receipt frees nothing
    assert again.batch(sent.id) == sent  # byte for byte: the shore writes what it has
    more = again.seal("live", 500)
    assert more is not None and [x.split()[-1] for x in more.body.decode().splitlines()] == [
        str(START_NS + s * NS) for s in (3, 4)
    ]
    tally = again.tally()
    assert (tally.sealed, tally.dropped, tally.waiting) == (5, 1, 4)
    assert [d.rows for d in again.untold()] == [1]
    assert again.confirm(receipt(again.id, sent)) and again.confirm(receipt(again.id, more))
    assert again.tally().waiting == 0
    again.close()


def receipt(spool: str, batch: object) -> wire.Receipt:
    return wire.Receipt(spool, batch.id, batch.crc32, batch.rows)  # type: ignore[attr-defined]


def test_a_copy_ends_also_while_somebody_commits_all_the_time(tmp_path: Path) -> None:
    busy, ended, begun = tmp_path / "busy.db", threading.Event(), threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(busy, isolation_level=None)) as db:
            db.execute("PRAGMA synchronous=OFF")
            for _ in range(200_000):  # much longer than the copy takes, but not without end
                db.execute("INSERT INTO pair VALUES (1), (-1)")
                begun.set()
                if ended.is_set():
                    return

    with closing(sqlite3.connect(busy)) as db:
        db.executescript("PRAGMA page_size=1024; PRAGMA journal_mode=WAL")
        db.execute("CREATE TABLE pair (x)")
        db.executemany("INSERT INTO pair VALUES (zeroblob(900))", [()] * 12_000)
        db.commit()
    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(30.0)
        copy_sqlite(busy, tmp_path / "copy.db")
        assert writer.is_alive()
    finally:
        ended.set()
        writer.join(60.0)
    with closing(sqlite3.connect(tmp_path / "copy.db")) as db:
        count, total = db.execute("SELECT count(*), sum(x) FROM pair WHERE typeof(x) = 'integer'").fetchone()
    assert count >= 2 and total == 0  # of one instant


def test_book_store_and_keys_come_back_with_their_rights(gateway: LoadedSite, tmp_path: Path) -> None:
    shore = tmp_path / "shore.toml"
    shore.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\ntls_ca = "pki/ca.pem"\n')
    book, store = Book(tmp_path / "book.db"), open_store(f"sqlite:{tmp_path / 'store.db'}")
    book.put_catalogue(catalogue())
    store.write([row(1, power_w=1.0)], catalogue().field_types())
    archive = tmp_path / "a.tar"
    code, out = run("backup", archive, "--site", gateway.path, "--shore", shore, "--pki", tmp_path / "pki")
    assert code == 0, out  # book and store are open all the while
    store.close()
    book.close()
    assert archive.stat().st_mode & 0o777 == 0o600
    code, out = run("restore", archive, "--root", tmp_path / "new")
    assert code == 0, out
    there = tmp_path / "new" / str(tmp_path).lstrip("/")
    for key in ("ca.key", "port.gw.key"):
        assert (there / "pki" / key).stat().st_mode & 0o777 == 0o600
        assert (there / "pki" / key).read_bytes() == (tmp_path / "pki" / key).read_bytes()
    new_book, new_store = Book(there / "book.db"), open_store(f"sqlite:{there / 'store.db'}")
    assert len(new_book.catalogues()) == 1 and new_store.count("demo-port", "gw-quay-1") == 1
    new_store.close()
    new_book.close()
    assert LoadedSite.load(there / "gw" / "site.toml").hash == gateway.hash
    assert run("restore", archive, "--check", "--lang", "en")[0] == 0


def test_the_signature_comes_along_and_what_is_missing_is_told(gateway: LoadedSite, tmp_path: Path) -> None:
    make_key(tmp_path / "quay.key")
    sign(gateway, tmp_path / "quay.key", "A. Martin")
    shore = tmp_path / "shore.toml"
    shore.write_text('schema = 1\n[store]\nurl = "sqlite:store.db"\n[broker]\npassword_file = "none"\n')
    words = ("--site", gateway.path, "--shore", shore, "--lang", "en")
    code, out = run("backup", tmp_path / "a.tar", *words)
    assert code == 0 and f"signature: {gateway.path}.sig" in out
    for missing in ("password_file", "spool", "store", "book"):
        assert f"not in the archive: {missing}: " in out, out
    assert "learned" not in out  # nobody has made it: nothing is missing
    code, out = run("restore", tmp_path / "a.tar", "--root", tmp_path / "new", "--lang", "en")
    assert code == 0 and out.count("no file at") == 4, out
    restored = LoadedSite.load(tmp_path / "new" / str(gateway.path).lstrip("/"))
    assert verify(restored, tmp_path)["name"] == "A. Martin"


def test_what_root_puts_back_belongs_to_whom_it_did(gateway: LoadedSite, tmp_path: Path) -> None:
    """For anybody else that is themselves; a key is readable by its group as before, if root puts it back."""
    Spool(gateway.spool_path, OWNER).close()
    key, root = tmp_path / "pki" / "port.gw.key", os.geteuid() == 0
    key.chmod(0o640)
    if root:
        shutil.chown(gateway.spool_path, "nobody", "nogroup")
        shutil.chown(key, "root", "nogroup")
    assert run("backup", tmp_path / "a.tar", "--site", gateway.path)[0] == 0
    assert run("restore", tmp_path / "a.tar", "--root", tmp_path / "new")[0] == 0
    for file in (gateway.spool_path, key, gateway.path):
        old, new = file.stat(), (tmp_path / "new" / str(file).lstrip("/")).stat()
        assert (new.st_uid, new.st_gid) == (old.st_uid, old.st_gid), file
    assert new_mode(tmp_path / "new", key) == (0o640 if root else 0o600)
    folder = (tmp_path / "new" / str(gateway.spool_path).lstrip("/")).parent
    assert [file.name for file in folder.iterdir() if file.name.endswith(("-wal", "-shm"))] == []


def new_mode(root: Path, file: Path) -> int:
    return (root / str(file).lstrip("/")).stat().st_mode & 0o777


def test_a_file_that_is_replaced_meanwhile_leaves_a_whole_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, add = tmp_path / "commissioned.json", tarfile.TarFile.addfile
    file.write_text("before")

    def add_and_replace(*args: Any) -> None:
        add(*args)
        file.write_text("after it")

    monkeypatch.setattr(tarfile.TarFile, "addfile", add_and_replace)
    write_archive(tmp_path / "a.tar", [Part("commissioning", "file", file)], "", "")
    with Archive(tmp_path / "a.tar") as archive:
        (restored,) = archive.put_back(tmp_path / "new", False)
    assert restored.read_text() == "before"


def test_a_damaged_archive_is_refused_and_writes_nothing(gateway: LoadedSite, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    Spool(gateway.spool_path, OWNER).close()
    assert run("backup", archive, "--site", gateway.path)[0] == 0
    good, root = archive.read_bytes(), tmp_path / "new"
    bad = [good[: len(good) // 2], b"", b"nonsense" * 1000]
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            at = member.offset_data + member.size // 2
            bad.append(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])  # one bit, in each file
    for content in bad:
        archive.write_bytes(content)
        code, out = run("restore", archive, "--root", root, "--lang", "en")
        assert code == 2 and ("damaged" in out or "no archive" in out), out
        assert not root.exists()


def refusing(error: Exception) -> Any:
    def refused(*_: object, **__: object) -> None:
        raise error

    return refused


def test_what_the_disk_refuses_is_told_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, archive = tmp_path / "f", tmp_path / "a.tar"
    file.write_text("content")
    parts, full = [Part("x", "file", file)], refusing(OSError(errno.ENOSPC, "No space"))
    with pytest.raises(ArchiveError, match=r"no: cannot be read: No such file .* run this as its owner"):
        write_archive(archive, [Part("x", "file", tmp_path / "no")], "", "")
    with pytest.raises(ArchiveError, match=r"none/a\.tar: cannot be written: No such file .* another folder"):
        write_archive(tmp_path / "none" / "a.tar", parts, "", "")
    with monkeypatch.context() as disk:
        disk.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(ArchiveError, match=r"a\.tar: cannot be written: No space; make room"):
            write_archive(archive, parts, "", "")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    with pytest.raises(ArchiveError, match=r"cannot be read: No such file .* give an archive of bollard backup"):
        Archive(archive)
    write_archive(archive, parts, "", "")
    with Archive(archive) as opened, monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(ArchiveError, match=r"new: cannot be written: No space; nothing has been put back"):
            opened.put_back(tmp_path / "new", False)
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]


def test_a_full_disk_is_not_taken_for_a_damaged_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorcode = sqlite3.SQLITE_FULL
    monkeypatch.setattr(sqlite3, "connect", refusing(error))
    with pytest.raises(OSError, match="No space"):
        copy_sqlite(tmp_path / "s.db", tmp_path / "copy.db")


def test_an_archive_cannot_write_anywhere_else(tmp_path: Path) -> None:
    import hashlib
    import io

    member = {"name": "x", "role": "file", "kind": "file", "path": "/a/../../etc/passwd", "mode": 420, "bytes": 0,
              "sha256": hashlib.sha256(b"").hexdigest()}  # fmt: skip
    text = json.dumps(
        {"format": 1, "made_at": "", "software": "", "host": "", "members": [member], "left_out": []}
    )
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        seal = hashlib.sha256(text.encode()).hexdigest().encode()
        for name, content in (("x", b""), ("manifest.json", text.encode()), ("manifest.sha256", seal)):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(ArchiveError, match="is no absolute path"):
        Archive(tmp_path / "a.tar")


def test_wrong_input_is_told(tmp_path: Path, gateway: LoadedSite) -> None:
    assert run("backup", tmp_path / "a.tar", "--lang", "en") == (
        2,
        "Of what? Give --site FILE, --shore FILE or --pki FOLDER\n",
    )
    assert "no CA there" in run("backup", tmp_path / "a.tar", "--pki", tmp_path / "none")[1]
    assert run("backup", tmp_path / "a.tar", "--shore", tmp_path / "none.toml")[0] == 2
    gateway.spool_path.write_bytes(b"what a power cut left" * 500)
    code, out = run("backup", tmp_path / "a.tar", "--site", gateway.path)
    assert code == 2 and "cannot be copied" in out and not (tmp_path / "a.tar").exists()
    with pytest.raises(sqlite3.DatabaseError):
        sqlite3.connect(gateway.spool_path).execute("SELECT 1 FROM sqlite_master")
