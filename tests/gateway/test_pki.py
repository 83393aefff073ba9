"""The small CA: what it issues is good for its purpose and for nothing else."""

import json
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from edge.tls import TlsError, TlsFiles, expiring, expiry
from gateway.ingest import expiry_events
from gateway.pki import Pki, PkiError
from gateway.pki_cli import app
from gateway.texts import load_texts


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki.init(tmp_path / "pki")


def test_keys_are_for_their_owner_only(pki: Pki) -> None:
    pki.issue("gateway", "calais/gw-1")
    keys = sorted(pki.folder.glob("*.key"))
    assert [key.name for key in keys] == ["ca.key", "calais.gw-1.key"]
    assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}
    assert stat.S_IMODE(pki.folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in (pki.folder / "issued.json").read_text()


@pytest.mark.parametrize(
    ("role", "name", "purpose"),
    [("gateway", "calais/gw-1", "sslclient"), ("shore", "ingest-1", "sslclient"), ("broker", "b1", "sslserver")],
)
def test_a_certificate_serves_one_purpose(pki: Pki, role: str, name: str, purpose: str) -> None:
    issued = pki.issue(role, name, ["127.0.0.1"] if role == "broker" else [])  # type: ignore[arg-type]
    good = {
        tried: subprocess.run(
            ["openssl", "verify", "-x509_strict", "-purpose", tried, "-CAfile", pki.folder / "ca.pem",
             "-crl_check", "-CRLfile", pki.folder / "crl.pem", pki.folder / f"{issued.stem}.pem"],
            capture_output=True, check=False,
        ).returncode == 0
        for tried in ("sslclient", "sslserver")
    }  # fmt: skip
    assert good == {tried: tried == purpose for tried in good}


def test_a_renewed_certificate_has_a_new_key_in_the_same_files(pki: Pki) -> None:
    first = pki.issue("gateway", "calais/gw-1", days=10)
    key = (pki.folder / "calais.gw-1.key").read_bytes()
    second = pki.renew("calais/gw-1")
    assert (pki.folder / "calais.gw-1.key").read_bytes() != key
    assert second.ends - first.ends > timedelta(days=700)
    assert pki.valid() == [second]


def test_revoking_takes_every_certificate_of_a_name(pki: Pki) -> None:
    serials = {pki.issue("gateway", "calais/gw-1").serial, pki.renew("calais/gw-1").serial}
    pki.issue("gateway", "calais/gw-2")
    pki.revoke("calais/gw-1")
    crl = x509.load_pem_x509_crl((pki.folder / "crl.pem").read_bytes())
    assert {f"{entry.serial_number:x}" for entry in crl} == serials
    assert [seen.name for seen in pki.valid()] == ["calais/gw-2"]
    with pytest.raises(PkiError, match="was revoked on"):
        pki.renew("calais/gw-1")
    pki.issue("gateway", "calais/gw-1")  # a new box with the old name
    assert [seen.name for seen in pki.valid()] == ["calais/gw-1", "calais/gw-2"]


@pytest.mark.parametrize(
    ("role", "name", "said"),
    [
        ("gateway", "gw-1", "give SITE/GATEWAY, as in calais/gw-berth-6"),
        ("gateway", "calais/#", "give SITE/GATEWAY"),
        ("shore", "calais/gw-1", "give a name, as in ingest-1"),
        ("shore", "ca", "is the name of a file of the CA"),
        ("gateway", f"{'a' * 40}/{'b' * 40}", "has 81 characters, a certificate holds 64"),
        ("broker", "b1", "give each with --host"),
    ],
)
def test_a_name_that_cannot_be_is_one_sentence(pki: Pki, role: str, name: str, said: str) -> None:
    with pytest.raises(PkiError, match=said):
        pki.issue(role, name)  # type: ignore[arg-type]


def test_what_is_there_is_never_made_twice(pki: Pki) -> None:
    with pytest.raises(PkiError, match="holds a CA already"):
        Pki.init(pki.folder)
    pki.issue("gateway", "calais/gw-1")
    with pytest.raises(PkiError, match="has a certificate until"):
        pki.issue("gateway", "calais/gw-1")
    with pytest.raises(PkiError, match=r"has no certificate of this CA; there are: calais/gw-1"):
        pki.renew("calais/gw-2")


def test_commands_print_files_and_warn_of_what_ends(tmp_path: Path) -> None:
    folder = ["--pki", str(tmp_path / "pki")]
    run = CliRunner().invoke
    assert run(app, ["gateway", "calais/gw-1", *folder]).exit_code == 2
    assert run(app, ["init", *folder]).exit_code == 0
    made = run(app, ["gateway", "calais/gw-1", *folder])
    assert made.stdout.splitlines() == [f"{tmp_path}/pki/calais.gw-1.pem", f"{tmp_path}/pki/calais.gw-1.key"]
    assert run(app, ["status", *folder]).exit_code == 0
    run(app, ["broker", "b1", "--host", "127.0.0.1", "--host", "broker.calais", "--days", "29", *folder])
    status = run(app, ["status", *folder])
    assert status.exit_code == 1
    assert [line.split()[0] for line in status.stdout.splitlines()] == ["ca", "gateway", "broker"]
    assert status.stdout.splitlines()[2].endswith("28 d  ENDS SOON")
    assert run(app, ["revoke", "b1", *folder]).exit_code == 0
    assert run(app, ["status", *folder]).exit_code == 0


def test_the_end_of_a_certificate_is_told_30_days_ahead_once_a_day(pki: Pki) -> None:
    pki.issue("shore", "ingest-1", days=60)
    files = TlsFiles(pki.folder / "ca.pem", pki.folder / "ingest-1.pem", pki.folder / "ingest-1.key")
    ends = expiry(pki.folder / "ingest-1.pem").ends
    assert expiring(files, ends - timedelta(days=31)) == []
    assert [seen.days_left(ends - timedelta(days=5)) for seen in expiring(files, ends - timedelta(days=5))] == [5]
    noon = (ends - timedelta(days=5)).replace(hour=12)
    rows = [expiry_events(files, "calais", noon + timedelta(hours=h)) for h in (0, 1)]
    assert rows[0] == rows[1] and len(rows[0]) == 1
    row = rows[0][0]
    assert (row.tags["code"], row.fields["text"], row.fields["value"]) == ("certificate_expires", "ingest-1", 5.0)
    assert expiring(files, ends + timedelta(hours=1))[0].days_left(ends + timedelta(hours=1)) == -1
    for lang in ("fr", "en"):
        told = load_texts(lang)("event.certificate_expires.told", text="ingest-1", value=5, detail="x")
        assert "ingest-1" in told


def test_files_that_do_not_fit_are_one_sentence_without_their_content(pki: Pki, tmp_path: Path) -> None:
    pki.issue("shore", "ingest-1")
    pki.issue("shore", "ingest-2")
    nonsense = tmp_path / "nonsense.pem"
    nonsense.write_text("s3cret")
    one, other = pki.folder / "ingest-1.pem", pki.folder / "ingest-2.key"
    for files, said in [
        (TlsFiles(nonsense), "give the CA's certificate"),
        (TlsFiles(pki.folder / "ca.pem", one, other), "key values mismatch"),
        (TlsFiles(pki.folder / "ca.pem", one, nonsense), "the key that belongs to it"),
        (TlsFiles(tmp_path / "none.pem"), "No such file"),
    ]:
        with pytest.raises(TlsError, match=said) as caught:
            files.context()
        assert "s3cret" not in str(caught.value)
    with pytest.raises(TlsError, match="give a certificate"):
        expiry(nonsense)


def test_two_commands_at_once_lose_nothing(pki: Pki) -> None:
    commands = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway.pki_cli", "gateway", f"calais/gw-{n}", "--pki", str(pki.folder)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for n in range(3)
    ]  # fmt: skip
    assert [command.wait(60) for command in commands] == [0, 0, 0]
    assert len(json.loads((pki.folder / "issued.json").read_text())) == 3
    assert datetime.now(UTC) < pki.newest("calais/gw-2").ends
