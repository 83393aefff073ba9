"""Signed site files: what was signed is taken, anything else is refused with what to do."""

import json
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest
from edge_rows import load

from edge.config import ConfigError, LoadedSite
from edge.pipeline import Pipeline
from edge.signing import load_site, make_key, sign, signature_path

PROFILE = """
schema = 1
kind = "meter"
model = "ours"
protocol = "modbus"
source = "a test"
[[point]]
name = "power_w"
address = 0
type = "uint16"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site file with a profile of its own, signed with a key that this machine trusts."""
    load(tmp_path)
    site = tmp_path / "site.toml"
    site.write_text(site.read_text().replace('"generic-meter"', '"ours.toml"'))
    (tmp_path / "ours.toml").write_text(PROFILE)
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    public = make_key(tmp_path / "quay.key")
    (trusted / "quay.pem").write_bytes(public.read_bytes())
    monkeypatch.setenv("BOLLARD_TRUSTED", str(trusted))
    sign(LoadedSite.load(site), tmp_path / "quay.key", "A. Martin")
    return site


def refused(site: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_site(site, require_signed=True)
    return str(caught.value)


def test_what_was_signed_is_taken(site: Path) -> None:
    assert load_site(site, require_signed=True).hash == LoadedSite.load(site).hash
    assert (site.parent / "quay.key").stat().st_mode & 0o077 == 0


def test_an_unsigned_file_is_refused(site: Path) -> None:
    signature_path(site).unlink()
    assert "takes signed site files only; sign it" in refused(site)
    load_site(site)  # where nobody asks for it, it is taken


def test_a_changed_file_is_refused_with_who_signed_what_it_was(site: Path) -> None:
    site.write_text(site.read_text().replace("1e7", "2e7"))
    told = refused(site)
    assert f"{site}: has changed since A. Martin signed it on 20" in told
    assert "sign it where the key is" in told


def test_a_changed_profile_is_a_changed_file(site: Path) -> None:
    (site.parent / "ours.toml").write_text(PROFILE.replace("address = 0", "address = 1"))
    assert "ours.toml: has changed" in refused(site)


@pytest.mark.parametrize("owner", ["device.battery", "vessel.battery"])
def test_a_changed_cell_model_is_a_changed_file(site: Path, owner: str) -> None:
    nmc = (resources.files("dsp") / "cells" / "nmc.toml").read_text()
    (site.parent / "pack.toml").write_text(nmc)
    if owner == "device.battery":
        site.write_text(site.read_text().replace('cell = "nmc"', 'cell = "pack.toml"'))
    else:
        site.write_text(site.read_text() + '[vessel.battery]\ncell = "pack.toml"\nseries = 1\nparallel = 1\n')
    sign(LoadedSite.load(site), site.parent / "quay.key", "A. Martin")
    load_site(site, require_signed=True)
    (site.parent / "pack.toml").write_text(nmc + "\n")
    assert "pack.toml: has changed" in refused(site)


def test_what_is_verified_is_what_was_read(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another profile lies there while the site file is loaded, and the signed one again when that is done."""
    profile, nmc = site.parent / "ours.toml", (resources.files("dsp") / "cells" / "nmc.toml").read_text()
    site.write_text(site.read_text().replace('cell = "nmc"', 'cell = "pack.toml"'))
    (site.parent / "pack.toml").write_text(nmc)
    sign(LoadedSite.load(site), site.parent / "quay.key", "A. Martin")
    load_once = LoadedSite.load

    def swapped(path: Path) -> LoadedSite:
        profile.write_text(PROFILE.replace("address = 0", "address = 1"))
        loaded = load_once(path)
        profile.write_text(PROFILE)
        return loaded

    with monkeypatch.context() as patched:
        patched.setattr(LoadedSite, "load", swapped)
        assert "ours.toml: has changed" in refused(site)
    loaded = load_site(site, require_signed=True)
    (site.parent / "pack.toml").unlink()  # nobody reads it a second time
    Pipeline(loaded)


@pytest.mark.parametrize(("key", "file"), [("cell", "loop.toml"), ("password_file", "x" * 300)])
def test_a_file_that_cannot_be_read_is_a_problem_of_the_site_file(tmp_path: Path, key: str, file: str) -> None:
    load(tmp_path)
    site, text = tmp_path / "site.toml", (tmp_path / "site.toml").read_text()
    if key == "cell":
        (tmp_path / file).symlink_to(file)
        site.write_text(text.replace('cell = "nmc"', f'cell = "{file}"'))
    else:
        site.write_text(text.replace("[broker]", f'[broker]\nusername = "quay"\npassword_file = "{file}"'))
    with pytest.raises(ConfigError, match=r"cannot be read: .*its owner or mode"):
        LoadedSite.load(site)


def test_a_profile_that_was_not_signed_is_refused(site: Path) -> None:
    said = json.loads(signature_path(site).read_text())
    del said["files"]["ours.toml"]
    signature_path(site).write_text(json.dumps(said))
    assert "signed by no key that is trusted here" in refused(site)


@pytest.mark.parametrize("key", ["name", "at"])
def test_who_and_when_are_signed_too(site: Path, key: str) -> None:
    said = json.loads(signature_path(site).read_text())
    signature_path(site).write_text(json.dumps(said | {key: "2020-01-01"}))
    assert "signed by no key that is trusted here" in refused(site)


def test_another_key_is_not_trusted(site: Path) -> None:
    make_key(site.parent / "other.key")
    sign(LoadedSite.load(site), site.parent / "other.key", "M. Allory")
    assert "signed by no key that is trusted here" in refused(site)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1}', "null", '{"schema": 2, "files": {}}', "\0"])
def test_what_is_no_signature_is_refused(site: Path, text: str) -> None:
    signature_path(site).write_text(text)
    assert "is no signature of ours" in refused(site)


def test_a_machine_that_trusts_nobody_says_so(site: Path) -> None:
    (site.parent / "trusted" / "quay.pem").unlink()
    assert "holds no key to trust" in refused(site)
    (site.parent / "trusted" / "quay.pem").write_text("not a key")
    assert "is no public key (PEM)" in refused(site)


def test_the_commands_make_a_key_sign_and_verify(site: Path, tmp_path: Path) -> None:
    def said(*words: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "gateway.cli", "site", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        return done.returncode, done.stdout + done.stderr

    code, text = said("verify", "--site", str(site))
    assert (code, "signed by A. Martin" in text) == (0, True), text
    code, text = said("key", str(tmp_path / "quay.key"))
    assert (code, "is there already" in text) == (2, True), text
    code, text = said("sign", "--site", str(site), "--key", str(site))
    assert (code, "make one: bollard site key FILE" in text) == (2, True), text
