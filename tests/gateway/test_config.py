"""The shore file: what it may say, and how a wrong one is answered."""

from pathlib import Path

import pytest

from gateway.config import load_shore, parse_shore
from gateway.errors import ConfigError

SMALLEST = {"schema": 1, "store": {"url": "sqlite:store.db"}}
FILE = Path("/etc/bollard/shore.toml")
INFLUX = {"url": "http://10.20.0.9:8086/", "org": "port of x", "bucket": "bollard", "token": "s3cret"}


def test_the_smallest_file_has_a_default_for_all_else() -> None:
    settings = parse_shore(SMALLEST, FILE)
    assert settings.store.address == "sqlite:/etc/bollard/store.db"
    assert settings.book.path == Path("/etc/bollard/book.db")
    assert (settings.broker.host, settings.broker.port, settings.broker.embedded) == ("127.0.0.1", 1883, False)
    assert (settings.production, settings.sites) == (False, ())


def test_paths_are_relative_to_the_file_and_absolute_ones_stay() -> None:
    settings = parse_shore(
        {"schema": 1, "store": {"url": "sqlite:/srv/s.db"}, "book": {"path": "/srv/b.db"}}, FILE
    )
    assert settings.store.address == "sqlite:/srv/s.db"
    assert settings.book.path == Path("/srv/b.db")


def test_influxdb_is_a_table_and_its_token_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = parse_shore({"schema": 1, "store": {"influx": INFLUX}}, FILE)
    assert settings.store.address == "influx:http://10.20.0.9:8086?org=port+of+x&bucket=bollard"
    assert settings.store.influx is not None
    assert settings.store.influx.secret == "s3cret"
    assert "s3cret" not in repr(settings) + str(settings.model_dump_json())
    monkeypatch.setenv("PORT_TOKEN", "from-outside")
    table = {key: value for key, value in INFLUX.items() if key != "token"} | {"token_env": "PORT_TOKEN"}
    influx = parse_shore({"schema": 1, "store": {"influx": table}}, FILE).store.influx
    assert influx is not None and influx.secret == "from-outside"


def test_every_problem_is_named_at_once_with_its_remedy() -> None:
    table = {
        "schema": 2, "sites": ["Calais!"], "colour": "red", "store": {"url": "postgres:x"},
        "broker": {"port": 70_000, "hots": "x"}, "book": {"paht": "x"},
    }  # fmt: skip
    with pytest.raises(ConfigError) as caught:
        parse_shore(table, FILE)
    assert caught.value.exit_code == 2
    assert str(caught.value).splitlines() == [
        "/etc/bollard/shore.toml: schema = 2: Input should be 1; give version of this format: 1",
        "/etc/bollard/shore.toml: sites[0] = 'Calais!': String should match pattern '^[a-z0-9_-]+$'; give "
        "sites that are taken; none listed means all",
        "/etc/bollard/shore.toml: store.url = 'postgres:x': String should match pattern '^(sqlite:.+)?$'; give "
        "sqlite:PATH, as in sqlite:store.db",
        "/etc/bollard/shore.toml: broker.port = 70000: Input should be less than or equal to 65535; give the "
        "broker's port; 0, embedded only, takes a free one",
        "/etc/bollard/shore.toml: broker.hots = 'x': Extra inputs are not permitted; use one of embedded, "
        "fallback, host, keepalive_s, mqtt, password_file, port, reconnect_s, share, tls_ca, tls_cert, tls_key, "
        "username",
        "/etc/bollard/shore.toml: book.paht = 'x': Extra inputs are not permitted; use one of path",
        "/etc/bollard/shore.toml: colour = 'red': Extra inputs are not permitted; use one of book, broker, "
        "company, group, http, operator, port, production, report, schema, sites, store, web",
    ]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"store": {"url": "sqlite:x"}}, "schema: Field required; give version of this format: 1"),
        ({"schema": 1}, "store: Field required; give a table with url or influx"),
        ({"schema": 1, "store": {}}, "store: give either url or influx"),
        ({"schema": 1, "store": {"url": "sqlite:x", "influx": INFLUX}}, "store: give either url or influx"),
        ({**SMALLEST, "broker": {"embedded": True, "host": "10.0.0.1"}}, "listens on 127.0.0.1 only"),
        ({**SMALLEST, "broker": {"port": 0}}, "port 0 goes with embedded = true only"),
        ({"schema": 1, "store": {"influx": INFLUX | {"url": "10.0.0.1"}}}, "store.influx.url = '10.0.0.1'"),
        ({"schema": 1, "store": {"influx": INFLUX | {"bucket": "a b"}}}, "give prefix of the three buckets"),
    ],
)  # fmt: skip
def test_one_problem_is_one_line(table: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_shore(table, FILE)
    assert said in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    assert "s3cret" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"shore\.toml: cannot be read: No such file"):
        load_shore(tmp_path / "shore.toml")
    (tmp_path / "shore.toml").write_text("schema = \n")
    with pytest.raises(ConfigError, match=r"shore\.toml: not TOML: Invalid value \(at line 1.*; save the"):
        load_shore(tmp_path / "shore.toml")
    (tmp_path / "shore.toml").write_text('schema = 1\n[store]\nurl = "sqlite:s.db"\n')
    assert load_shore(tmp_path / "shore.toml").store.address == f"sqlite:{tmp_path}/s.db"
