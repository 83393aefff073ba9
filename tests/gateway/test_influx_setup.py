"""`bollard influx setup` on a real InfluxDB: what it makes, what its tokens may do, and that it repeats itself."""

import stat
from contextlib import closing
from pathlib import Path

import pytest
from servers.influx import TOKEN, InfluxServer
from shore import FOREVER, T, catalogue, row
from typer.testing import CliRunner, Result

from gateway.book import Book
from gateway.config import load_shore
from gateway.influx_cli import ADMIN_VARIABLE, app
from gateway.store import Store, StoreError, open_store

pytestmark = pytest.mark.influx
TYPES = catalogue().field_types()


class Port:
    """A shore file over a server."""

    def __init__(self, folder: Path, server: InfluxServer, bucket: str) -> None:
        self.folder, self.server, self.bucket = folder, server, bucket
        self.file = folder / "shore.toml"
        self.write()

    def write(self, raw_days: str = "raw_days = 30") -> None:
        access = self.server.access
        self.file.write_text(
            f'schema = 1\n[store]\n{raw_days}\ninflux = {{ url = "{access.url}", org = "{access.org}",'
            f' bucket = "{self.bucket}", token_file = "{self.bucket}-ingest.token" }}\n'
        )

    def setup(self, *words: str) -> Result:
        return CliRunner().invoke(app, ["setup", "--shore", str(self.file), *words])

    def store(self, role: str) -> Store:
        token = (self.folder / f"{self.bucket}-{role}.token").read_text().strip()
        return open_store(self.server.access.store_url(self.bucket), token=token, create=False)

    def retention(self) -> dict[str, int]:
        buckets = self.server.call("GET", "/api/v2/buckets?limit=100")["buckets"]
        return {
            b["name"]: sum(rule["everySeconds"] for rule in b["retentionRules"]) // 86_400
            for b in buckets
            if b["name"].startswith(self.bucket)
        }

    def tokens(self) -> list[str]:
        every = self.server.call("GET", "/api/v2/authorizations")["authorizations"]
        return sorted(a["description"] for a in every if f" {self.bucket} " in a["description"])


@pytest.fixture
def port(tmp_path: Path, influx_server: InfluxServer, monkeypatch: pytest.MonkeyPatch) -> Port:
    monkeypatch.setenv(ADMIN_VARIABLE, TOKEN)
    return Port(tmp_path, influx_server, f"s{tmp_path.name[-10:].strip('_').replace('_', '-')}")


def test_a_second_run_changes_nothing(port: Port) -> None:
    first = port.setup()
    assert first.exit_code == 0, first.output
    b = port.bucket
    assert [line.split(",")[0] for line in first.stdout.splitlines()] == [
        f"bucket {b}-raw: created", f"bucket {b}-minutes: created", f"bucket {b}-events: created",
        f"token {port.folder}/{b}-ingest.token: created", f"token {port.folder}/{b}-report.token: created",
    ]  # fmt: skip
    assert port.retention() == {f"{b}-raw": 30, f"{b}-minutes": 0, f"{b}-events": 0}
    files = {file: file.read_text() for file in port.folder.glob("*.token")}
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    second = port.setup()
    assert [line.split(",")[0].split(": ")[1] for line in second.stdout.splitlines()] == ["was there"] * 5
    assert files == {file: file.read_text() for file in port.folder.glob("*.token")}
    assert port.tokens() == [f"bollard {b} ingest", f"bollard {b} report"]
    for secret in (*files.values(), TOKEN):
        assert secret.strip() not in first.output + second.output


def test_ingest_writes_and_reads_nothing_reports_read_and_write_nothing(port: Port) -> None:
    port.setup()
    now_ns = T  # the raw bucket keeps 30 days
    with closing(port.store("ingest")) as store, closing(Book(port.folder / "book.db")) as book:
        store.remember_types(book)
        event = row(now_ns, "event", tags={"code": "clock_step"}, step_s=2.0)
        assert store.write([event], TYPES) == []
        with pytest.raises(StoreError):
            store.columns("event", None, ("step_s",), *FOREVER)
    with closing(port.store("report")) as store:
        assert store.columns("event", None, ("step_s",), *FOREVER)["step_s"].tolist() == [2.0]
        with pytest.raises(StoreError, match="the token is refused"):
            store.write([event], TYPES)
    with closing(load_shore(port.file).store.open()) as store:  # by token_file
        assert store.write([event], TYPES) == []


def test_a_field_keeps_its_type_although_ingest_cannot_ask_for_it(port: Port) -> None:
    """InfluxDB itself would take the other type in another week, and then leave it out of answers."""
    port.write(raw_days="")
    port.setup()
    with closing(Book(port.folder / "book.db")) as book:
        with closing(port.store("ingest")) as store:
            store.remember_types(book)
            assert store.write([row(T, power_w=1.0)], TYPES) == []
        with closing(port.store("ingest")) as store:  # a start later, a month later
            store.remember_types(book)
            other = catalogue(power_w="int").field_types()
            refused = store.write([row(T + 30 * 86_400 * 10**9, power_w=1)], other)
    assert refused == [
        (0, "field 'power_w' of charger is int, this store holds it as float; give the new quantity a new name")
    ]


def test_rows_beyond_the_retention_are_refused_with_the_reason(port: Port) -> None:
    port.setup()
    with closing(port.store("ingest")) as store:
        refused = store.write([row(10**18, power_w=1.0)], TYPES)
    assert len(refused) == 1 and "outside retention policy" in refused[0][1]


def test_a_shorter_retention_has_to_be_meant(port: Port) -> None:
    port.setup()
    port.write("raw_days = 10")
    said = port.setup()
    assert said.exit_code == 2
    assert said.stderr == (
        f"bucket {port.bucket}-raw keeps 30 days; with 10 days older rows would be lost."
        " Give --shorten if that is meant\n"
    )
    assert port.setup("--shorten").exit_code == 0
    assert port.retention()[f"{port.bucket}-raw"] == 10
    port.write("raw_days = 400")
    assert "retention changed, keeps 400 days" in port.setup().stdout


def test_a_lost_token_is_made_anew_and_the_old_one_ends(port: Port) -> None:
    port.setup()
    lost = port.folder / f"{port.bucket}-ingest.token"
    old = lost.read_text().strip()
    lost.unlink()
    assert "ingest.token: made anew" in port.setup().stdout
    assert lost.read_text().strip() != old
    assert port.tokens() == [f"bollard {port.bucket} ingest", f"bollard {port.bucket} report"]
    with pytest.raises(StoreError, match="the token is refused"):
        open_store(port.server.access.store_url(port.bucket), token=old, create=False)


def test_what_is_missing_is_one_sentence(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADMIN_VARIABLE)
    assert port.setup().stderr.startswith(f"{ADMIN_VARIABLE} is not set")
    monkeypatch.setenv(ADMIN_VARIABLE, "wrong-token")
    said = port.setup()
    assert "the token is refused (401); setup needs one that may manage" in said.stderr
    assert "wrong-token" not in said.output
    monkeypatch.setenv(ADMIN_VARIABLE, TOKEN)
    port.file.write_text(port.file.read_text().replace('org = "port"', 'org = "nobody"'))
    assert "nobody" in port.setup().stderr
    port.file.write_text('schema = 1\n[store]\nurl = "sqlite:s.db"\n')
    assert "store.influx: is not there" in port.setup().stderr
