"""A wrong site file is refused whole: every problem with its file, key, value and remedy."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from drivers.address import host_problem
from edge.cli import app
from edge.config import ConfigError, LoadedSite

CASES = Path(__file__).parent.parent / "cases" / "bad_site_files"


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        LoadedSite.load(path)
    return [line.replace(str(path), path.name) for line in str(caught.value).split("\n")]


def test_an_unknown_key_and_a_value_out_of_bounds_are_told_at_once() -> None:
    first, second = problems(CASES / "unknown_key.toml")
    assert first.startswith(
        "unknown_key.toml:15: device meter-1: timeout_s = 0.01: Input should be greater than or equal to 0.05;"
        " give seconds to wait for an answer"
    )
    assert second.startswith(
        "unknown_key.toml:14: device meter-1: intervall_s = 2.0: Extra inputs are not permitted; is it interval_s?"
    )


def test_overlapping_points_of_a_profile_are_named() -> None:
    (line,) = problems(CASES / "overlapping_points.toml")
    assert line.startswith("overlapping_points.toml:12: device meter-1: profile = 'overlapping-profile.toml': ")
    assert line.endswith("points power_w and frequency_hz overlap at holding register 101")


def test_a_wrong_profile_name_does_not_hide_the_other_problems() -> None:
    lines = problems(CASES / "wrong_profile_name.toml")
    assert lines[0] == (
        "wrong_profile_name.toml:6: site.timezone = 'Europe/Calais': not a known time zone;"
        " give a time zone, as in Europe/Paris"
    )
    assert lines[1].startswith(
        "wrong_profile_name.toml:13: device meter-1: profile = 'generic-metre':"
        " profile 'generic-metre' is not known; use"
    )


GOOD = """
schema = 1
[site]
name = "calais"
gateway = "gw"
[broker]
host = "10.20.0.2"
password_file = "secret"
username = "gw"
[[device]]
name = "meter-1"
profile = "generic-meter"
host = "10.20.0.7"
[[device]]
name = "charger-1"
profile = "generic-charger"
host = "10.20.0.8"
[[berth]]
name = "berth-1"
charger = "charger-1"
meter = "meter-1"
"""


def test_a_good_file_loads_with_its_profiles(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    (tmp_path / "secret").write_text("s3cret")
    loaded = LoadedSite.load(path)
    assert loaded.profiles["meter-1"].kind == "meter"
    assert loaded.spool_path == tmp_path / "spool.db"


def test_what_is_published_holds_no_secret(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    (tmp_path / "secret").write_text("s3cret")
    settings = LoadedSite.load(path).site.settings()
    assert "broker" not in settings
    assert "s3cret" not in str(settings) and "password_file" not in str(settings)
    path.write_text(GOOD.replace('host = "10.20.0.8"', 'url = "opc.tcp://reader:s3cret@10.20.0.8:4840"'))
    with pytest.raises(ConfigError, match="without user or password"):
        LoadedSite.load(path)
    assert settings["berth"][0]["meter"] == "meter-1"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "charger-1"', 'name = "meter-1"', "site.toml:15: device meter-1: name = 'meter-1': stands twice"),
        ('meter = "meter-1"', 'meter = "meter-2"', "is no device of kind meter; use one of: meter-1"),
        ('charger = "charger-1"', 'charger = "meter-1"', "is no device of kind charger; use one of: charger-1"),
        ('host = "10.20.0.7"', "", "site.toml:10: device meter-1: host = None: a Modbus device needs host"),
        ('"generic-meter"', '"generic-lock"', "a lock needs chamber_area_m2; add [device.lock]"),
        ('"generic-meter"', '"generic-bms"', "an OPC UA device needs url"),
        (
            'host = "10.20.0.7"',
            'host = "10.20.0.7"\n[device.meter]\nsupply = "reseller"',
            "device meter-1: meter.supply = 'reseller': belongs to a delivery point; take it out",
        ),
        (
            'meter = "meter-1"',
            'meter = "meter-1"\nuse = "traction"\nbaseline = "main.mgo.sfoc.medium.epa"',
            "berth berth-1: efficiency = None: traction needs it beside baseline; give it as in 0.85",
        ),
        ("schema = 1", "schema = 2", "schema = 2: this bollard reads 1; the file is newer: update bollard here"),
        ("schema = 1", "schema = 0", "schema = 0: is older than 1; run: bollard site migrate --site"),
        ("schema = 1", "", "site.toml: schema: Field required; give version of this format: 1"),
        ('host = "10.20.0.7"', 'host = "10.20..7"', "host = '10.20..7': no machine can have this name; give an"),
        ('host = "10.20.0.7"', 'host = "10.20.0.700"', "four numbers from 0 to 255 make an address; give an"),
        ('host = "10.20.0.2"', 'host = "mqtt broker"', "broker.host = 'mqtt broker': no machine can have this"),
        ('username = "gw"', 'username = "gw"\nfallback = ["b-.x"]', "broker.fallback[0] = 'b-.x': no machine can"),
        (
            "schema = 1",
            "schema = ",
            "(at line 2, column 10); a line is [table], [[table]] or key = value, with text in quotes",
        ),
        ('username = "gw"', "", "broker.password_file = 'secret': needs broker.username beside it"),
        ('password_file = "secret"', 'password_file = "none"', "broker.password_file = 'none': is not there"),
        ('host = "10.20.0.7"', 'host = "10.20.0.7"\nscan = {live = 5.0}', "no such scan class; use slow"),
        ('host = "10.20.0.7"', 'host = "10.20.0.7"\nscan = {slow = 0}', "greater than or equal to 0.1"),
        (
            "[[berth]]",
            '[[vessel]]\nname = "a"\nplc_names = ["b"]\n[[vessel]]\nname = "b"\n[[berth]]',
            "names two vessels",
        ),
    ],
)
def test_what_does_not_fit_together_is_told(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD.replace(old, new, 1))
    (tmp_path / "secret").write_text("s3cret")
    with pytest.raises(ConfigError) as caught:
        LoadedSite.load(path)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("10.20.0.7", True), ("plc-berth-6", True), ("plc_6.port.lan", True), ("plc.", True),
        ("fe80::1%eth0", True), ("::1", True), ("10.20.7", False), ("10.20.0.256", False), ("plc..lan", False),
        ("-plc", False), ("plc/1", False), ("", False), ("a" * 64, False),
    ],
)  # fmt: skip
def test_a_host_is_an_address_or_a_name(host: str, fine: bool) -> None:
    assert (host_problem(host) == "") == fine


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_bytes('[site]\nname = "écluse"'.encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8: byte 15 is 0xe9; save the file as UTF-8"):
        LoadedSite.load(path)


def test_the_command_checks_in_french_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "site.toml"
    path.write_text(GOOD)
    (tmp_path / "secret").write_text("s3cret")
    monkeypatch.setenv("LANG", "C.UTF-8")
    for lang, first, last in (
        ([], "meter-1 : compteur, ", f"{path} : tout est bon\n"),
        (["--lang", "en"], "meter-1: meter, ", f"{path}: all right\n"),
    ):
        result = CliRunner().invoke(app, ["check", "--site", str(path), *lang])
        assert result.exit_code == 0 and result.output.startswith(first) and result.output.endswith(last)
    assert CliRunner().invoke(app, ["check", "--site", str(path), "--lang", "de"]).exit_code == 2


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        LoadedSite.load(tmp_path / "none.toml")


MODBUS = """
schema = 1
[site]
name = "calais"
gateway = "gw"
[broker]
host = "10.20.0.2"
[[device]]
name = "meter-1"
profile = "generic-meter"
{first}
[[device]]
name = "meter-2"
profile = "generic-meter"
{second}
"""
LINE = 'transport = "rtu"\nserial = "/dev/ttyUSB0"'


def modbus_problems(tmp_path: Path, first: str, second: str = 'host = "10.20.0.8"') -> list[str]:
    path = tmp_path / "site.toml"
    path.write_text(MODBUS.format(first=first, second=second))
    return [re.sub(r"^site\.toml:\d+: device ", "", line) for line in problems(path)]


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ("", "meter-1: host = None: a Modbus device needs host; give the PLC's address, as in 10.20.0.7"),
        (
            'transport = "rtu"',
            'meter-1: serial = None: transport = "rtu" needs serial; give a path, as in /dev/ttyUSB0',
        ),
        (
            'transport = "ascii"\nserial = "COM3"',
            "meter-1: serial = 'COM3': give a path, as in /dev/ttyUSB0, or usb:VID:PID[:SERIALNUMBER]",
        ),
        (LINE + "\nunit_id = 248", "meter-1: unit_id = 248: a serial line has units 1 to 247"),
        (LINE + "\nport = 502", 'meter-1: port = 502: transport = "rtu" is a serial line; use serial'),
        ('host = "a"\nbaud = 9600', 'meter-1: baud = 9600: goes with a serial line; give transport = "rtu" too'),
        ('host = "a"\ntls_name = "b"', "meter-1: tls_name = 'b': goes with TLS; give transport = \"tls\" too"),
        (
            'host = "a"\ntransport = "tls"',
            "meter-1: tls_ca = None: TLS needs tls_ca: a PEM file of the authority, or of the PLC's own"
            " certificate",
        ),
    ],
)
def test_transport_and_its_keys_go_together(tmp_path: Path, keys: str, told: str) -> None:
    assert modbus_problems(tmp_path, keys) == [told]


def test_tls_files_have_to_be_there(tmp_path: Path) -> None:
    (line,) = modbus_problems(tmp_path, 'host = "a"\ntransport = "tls"\ntls_ca = "ca.pem"')
    assert line == f"meter-1: tls_ca = 'ca.pem': is not there, seen from {tmp_path}"


def test_devices_on_one_line_agree_on_it_and_have_units_of_their_own(tmp_path: Path) -> None:
    lines = modbus_problems(tmp_path, LINE, LINE + "\nbaud = 9600\npause_s = 0.1")
    assert lines == [
        "meter-2: baud = 9600: meter-1 on serial:/dev/ttyUSB0 has 19200; give both the same",
        "meter-2: pause_s = 0.1: meter-1 on serial:/dev/ttyUSB0 has 0.0; give both the same",
        "meter-2: unit_id = 1: meter-1 has it on serial:/dev/ttyUSB0; each unit has its own",
    ]


def test_devices_of_one_plc_agree_on_what_its_owner_allows(tmp_path: Path) -> None:
    (line,) = modbus_problems(
        tmp_path, 'host = "plc"\nmax_requests_per_s = 5', 'host = "PLC"\nport = 502\nunit_id = 2'
    )
    assert line == "meter-2: max_requests_per_s = 0.0: meter-1 on tcp:plc:502 has 5.0; give both the same"


def test_an_opcua_device_has_no_modbus_keys(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    text = MODBUS.format(first='host = "a"', second='url = "opc.tcp://a:4840"\nbaud = 9600')
    path.write_text(
        text.replace('name = "meter-2"\nprofile = "generic-meter"', 'name = "b"\nprofile = "generic-bms"')
    )
    (line,) = problems(path)
    assert line == "site.toml:16: device b: baud = '9600': an OPC UA device has url instead; take it out"


def test_where_files_lie_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    path = tmp_path / "site.toml"
    path.write_text(
        MODBUS.format(first='host = "a"\ntransport = "tls"\ntls_ca = "ca.pem"', second='host = "b"\npause_s = 0.1')
    )
    first, second = LoadedSite.load(path).site.settings()["device"]
    assert "tls_ca" not in first and first["transport"] == "tls" and second["pause_s"] == 0.1


OPCUA = """
schema = 1
[site]
name = "calais"
gateway = "gw"
[broker]
host = "10.20.0.2"
[spool]
path = "state/spool.db"
[[device]]
name = "bms"
profile = "generic-bms"
url = "opc.tcp://10.20.0.9:4840"
[device.opcua]
"""


def opcua(tmp_path: Path, settings: str) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(OPCUA + settings)
    return path


def test_the_files_of_an_opc_ua_device_are_found_from_anywhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    path = opcua(
        tmp_path,
        'security_policy = "Basic256Sha256"\nusername = "edge"\npassword_file = "secret"\n'
        f'server_fingerprint = "{"AB:" * 31}AB"\nsubscribe = ["soc_bms"]\n',
    )
    loaded = LoadedSite.load(path)
    settings = loaded.site.device[0].opcua
    assert settings is not None
    assert settings.server_fingerprint == 32 * "ab"
    assert settings.password_file == tmp_path / "secret"
    assert settings.certificate_file == tmp_path / "state" / "opcua" / "client.der"
    assert settings.key_file == tmp_path / "state" / "opcua" / "client.key.pem"
    published = json.dumps(loaded.site.settings())
    for hidden in ("secret", "client", '"edge"', str(tmp_path)):
        assert hidden not in published


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            'server_fingerprint = "ab"\nsecurity_policy = "Basic256Sha256"',
            "2 characters are not the 64 hex digits",
        ),
        (f'server_fingerprint = "{64 * "a"}"', "checks nothing under security_policy"),
        ('username = "edge"', "a password is only sent encrypted"),
        (
            'username = "edge"\nsecurity_policy = "Basic256Sha256"\nmode = "Sign"',
            "a password is only sent encrypt",
        ),
        ('key_file = "k"', "go together; give both or neither"),
        ('password_file = "p"', "password_file needs username beside it"),
        (
            'security_policy = "Basic256"',
            "give None, Basic256Sha256, Aes128_Sha256_RsaOaep or Aes256_Sha256_RsaPss",
        ),
        (
            'subscribe = ["soc"]',
            "device bms: opcua.subscribe = 'soc': no such point; use names of profile generic-bms",
        ),
        ("publishing = 1.0", "is it publishing_s?"),
        ('certificate_file = "c"\nkey_file = "k"', "device bms: opcua.key_file = 'k': is not there"),
    ],
)
def test_what_is_wrong_with_an_opc_ua_table_is_said_with_a_remedy(
    tmp_path: Path, settings: str, said: str
) -> None:
    assert any(said in line for line in problems(opcua(tmp_path, settings)))


def test_an_opc_ua_table_does_not_fit_a_modbus_device(tmp_path: Path) -> None:
    path = opcua(tmp_path, "")
    path.write_text(
        path.read_text().replace("generic-bms", "generic-meter").replace("url =", 'host = "10.20.0.7"\nurl =')
    )
    (line,) = problems(path)
    assert line.endswith("device bms: opcua = '…': profile generic-meter speaks modbus; take this table out")


FIRST_AND_SECOND = """
schema = 1
[site]
name = "Calais"
gateway = "gw"
[broker]
host = "10.20.0.2"
password_file = "missing"
username = "gw"
[[device]]
name = "charger-1"
profile = "generic-charger"
host = "10.20.0.8"
intervall_s = 2.0
[[device]]
name = "lock-1"
profile = "generic-lock"
host = "10.20.0.9"
interval_s = 0.01
[[device]]
name = "meter-1"
profile = "generic-meter"
transport = "serial"
{name}
[[berth]]
name = "b1"
charger = "charger-1"
meter = "lock-1"
"""


def test_what_does_not_fit_together_is_told_beside_what_is_wrong_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(FIRST_AND_SECOND.format(name='origin = "real"'))
    told = "\n".join(problems(path))
    for part in ("site.name = 'Calais'", "device charger-1: intervall_s", "device lock-1: interval_s = 0.01"):
        assert part in told
    assert "device lock-1: lock = None: a lock needs chamber_area_m2" in told
    assert "broker.password_file = 'missing': is not there" in told
    assert "berth b1: meter = 'lock-1': is no device of kind meter; use one of: meter-1" in told
    assert (
        "device meter-1: transport = 'serial'" in told and "meter-1: host" not in told
    )  # follows from the transport


def test_no_misfit_is_told_that_only_follows_from_another_mistake(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text(
        FIRST_AND_SECOND.format(name="unit_id = 700").replace('name = "charger-1"', 'name = "Charger 1"')
    )
    told = "\n".join(problems(path))
    assert "device Charger 1: name = 'Charger 1'" in told and "device meter-1: unit_id = 700" in told
    assert "berth b1" not in told and "stand" not in told


def test_a_file_of_which_nothing_can_be_made_still_tells_what_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "site.toml"
    path.write_text('schema = "two"\ndevice = 3\nsite = "calais"\n')
    told = problems(path)
    assert any("schema = 'two'" in line for line in told) and any("broker" in line for line in told)
