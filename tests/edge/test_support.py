"""`bollard support`: secrets are planted everywhere, and none is in the bundle."""

import errno
import json
import os
import tarfile
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from edge.redact import GONE, Redactor, known_secrets
from edge.support_cli import support
from gateway.book import Book
from gateway.pki import Pki

BROKER, BMS, TOKEN, ENVIRONMENT = "Tide-tables-7781", "bms#Pass word", "q" * 86 + "==", "env-Token-55512"
URL, COMMENT, LOGGED, BEARER = (
    "url-Secret-331",
    "remarque-Secret-9",
    "logged-Secret-4",
    "eyJhbGciOi.eyJzdWIiOi.c2lnbmVk",
)
INFLUX = "inline-token-8842"
SITE = f"""
# mot de passe du courtier : {COMMENT}
schema = 1
[site]
name = "port"
gateway = "gw"
[broker]
host = "127.0.0.1"
port = 1
username = "edge"
password_file = "secrets/broker"
tls_ca = "pki/ca.pem"
tls_cert = "pki/port.gw.pem"
tls_key = "pki/port.gw.key"
[clock]
require = false
[[device]]
name = "bms"
profile = "generic-bms"
url = "opc.tcp://127.0.0.1:1"
origin = "sim"
[device.opcua]
security_policy = "Basic256Sha256"
mode = "SignAndEncrypt"
server_fingerprint = "{"9f" * 32}"
username = "bms-user"
password_file = "secrets/bms"
"""
SHORE = f"""
schema = 1
[store.influx]
url = "http://127.0.0.1:8086"
org = "port"
bucket = "bollard"
token = "{INFLUX}"
token_env = "MY_TOKEN"
[broker]
password_file = "secrets/broker"
username = "ingest"
"""
LOG = f"""
time=2026-10-14T08:00:00Z level=info msg="connecting to mqtt://edge:{URL}@10.20.0.2:1883"
password={LOGGED} user=edge
--password {LOGGED} --token "{LOGGED}"
Authorization: Bearer {BEARER}
GET /api?token={LOGGED}&x=1 HTTP/1.1
retrying with {BROKER} after {TOKEN}
time=2026-10-14T08:00:01Z level=info event=broker_connected broker=10.20.0.2:1883
"""


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("MY_TOKEN", ENVIRONMENT)
    monkeypatch.setenv("BOLLARD_INFLUX_TOKEN", TOKEN)
    pki = Pki.init(tmp_path / "pki")
    pki.issue("gateway", "port/gw")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/broker").write_text(BROKER + "\n")
    (tmp_path / "secrets/bms").write_text(BMS)
    (tmp_path / "site.toml").write_text(SITE)
    (tmp_path / "shore.toml").write_text(SHORE)
    key = (tmp_path / "pki/port.gw.key").read_text()
    (tmp_path / "agent.log").write_text(f"{LOG}{ENVIRONMENT} {BMS}\n{key}\n{INFLUX}")
    Book(tmp_path / "book.db").close()
    return tmp_path


def run(*words: object) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(support)
    done = CliRunner().invoke(app, [str(word) for word in words])
    return done.exit_code, done.output


def test_no_planted_secret_is_in_the_bundle(planted: Path) -> None:
    out = planted / "support.tar.gz"
    code, told = run(
        out, "--site", planted / "site.toml", "--shore", planted / "shore.toml", "--log", planted / "agent.log",
        "--lang", "en",
    )  # fmt: skip
    assert code == 0, told
    with tarfile.open(out) as tar:
        files = {m.name.removeprefix("bollard-support/"): tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
    assert {
        "README.txt", "versions.json", "disk.txt", "site.json", "shore.json", "catalogue.json", "doctor.json",
        "schema-spool.json", "schema-book.json", "files.json", "logs/agent.log",
    } <= files.keys()  # fmt: skip
    key = [x for x in (planted / "pki/port.gw.key").read_text().splitlines() if not x.startswith("-")]
    everything = b"\n".join(files.values()).decode() + told
    for secret in (BROKER, BMS, TOKEN, ENVIRONMENT, URL, COMMENT, LOGGED, BEARER, INFLUX, *key):
        assert secret not in everything, secret
    assert "PRIVATE KEY" not in everything
    log = files["logs/agent.log"].decode()
    assert "event=broker_connected broker=10.20.0.2:1883" in log and f"mqtt://{GONE}@10.20.0.2" in log
    site = json.loads(files["site.json"])
    assert site["broker"]["tls_key"] == "pki/port.gw.key"  # where it is, not what it is
    assert site["device"][0]["opcua"]["server_fingerprint"] == "9f" * 32
    assert json.loads(files["doctor.json"])["good"] is False
    assert out.stat().st_mode & 0o777 == 0o600
    assert run(out, "--site", planted / "site.toml")[0] == 2  # is there


def test_files_of_one_name_all_go_in_and_half_a_bundle_never_stays(
    planted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = planted / "shore"
    folder.mkdir()
    (planted / "site.toml").rename(planted / "quay.toml")
    (folder / "quay.toml").write_text(SHORE)
    (folder / "agent.log").write_text("of the other one")
    words = ("--site", planted / "quay.toml", "--shore", folder / "quay.toml",
             "--log", planted / "agent.log", "--log", folder / "agent.log", "--lang", "en")  # fmt: skip
    code, told = run(planted / "support.tar.gz", *words)
    names = told.splitlines()
    assert code == 0 and {"site.json", "shore.json", "logs/agent.log", "logs/agent.log-2"} <= set(names), told

    def fill(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tarfile.TarFile, "addfile", fill)
    code, told = run(planted / "full.tar.gz", *words)
    assert code == 2 and "full.tar.gz: cannot be written: No space left" in told and "make room" in told
    assert not list(planted.glob("full*"))


def test_a_wrong_site_file_still_makes_a_bundle(planted: Path) -> None:
    (planted / "site.toml").write_text(SITE.replace('gateway = "gw"', 'gateway = "GW !"'))
    code, told = run(planted / "s.tar.gz", "--site", planted / "site.toml")
    assert code == 0 and "site-problems.json" in told
    (planted / "site.toml").write_text(f'password = "{LOGGED}')
    code, told = run(planted / "t.tar.gz", "--site", planted / "site.toml")
    assert code == 0
    with tarfile.open(planted / "t.tar.gz") as tar:
        text = b"".join(tar.extractfile(m).read() for m in tar)  # type: ignore[union-attr]
    assert LOGGED.encode() not in text
    assert run(planted / "u.tar.gz")[0] == 2


@settings(max_examples=30)
@given(st.text(alphabet=st.characters(categories=("L", "N", "P", "S")), min_size=6, max_size=40))
def test_a_known_secret_is_found_wherever_it_stands(secret: str) -> None:
    if secret.strip() != secret or secret.startswith("-----") or secret in GONE or "removed" in secret:
        return
    redactor = Redactor([secret])
    assert secret not in redactor.text(f"before {secret} after, and x{secret}x")
    assert secret not in json.dumps(redactor.data({"note": f"it is {secret}"}), ensure_ascii=False)


def test_settings_name_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "p").write_text("in-a-file\n")
    os.environ.pop("NOT_SET", None)
    table = {
        "a": [{"password_file": "p"}],
        "token": "inline",
        "token_env": "NOT_SET",
        "tls_key": "none",
        "host": "h",
    }
    assert known_secrets(table, tmp_path) == {"in-a-file\n", "inline"}
