"""Signed site files: what a gateway in production polls, somebody has put a name to.

Beside `site.toml` lies `site.toml.sig`: the SHA-256 of the site file and of each profile and cell model of one's
own that it names, who signed when, and an Ed25519 signature over all that. A gateway trusts the public keys in
one folder, which only root can change.
"""

import base64
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from edge.commissioned import write_whole
from edge.config import ConfigError, LoadedSite

TRUSTED = Path("/etc/bollard/trusted")
REMEDY = "sign it where the key is: bollard site sign --site FILE --key KEY"


def trusted_folder() -> Path:
    return Path(os.environ.get("BOLLARD_TRUSTED") or TRUSTED)


def signature_path(site: Path) -> Path:
    return site.with_name(site.name + ".sig")


def load_site(path: Path, require_signed: bool = False) -> LoadedSite:
    """The site file, checked. Raises: ConfigError; with `require_signed` also if nobody we trust has signed it."""
    loaded = LoadedSite.load(path)
    if require_signed:
        verify(loaded, trusted_folder())
    return loaded


def make_key(path: Path) -> Path:
    """A new key for signing; the public half beside it, as .pem. Raises: ConfigError if there is one already."""
    public = path.with_suffix(".pem")
    for file in (path, public):
        if file.exists():
            raise ConfigError(f"{file}: is there already; gateways may trust it: give another name")
    if path.suffix == ".pem":
        raise ConfigError(f"{path}: .pem is the public half's ending; give a name as in quay.key")
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(secret)
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; give another folder") from error
    return public


def sign(loaded: LoadedSite, key_file: Path, name: str) -> Path:
    """Sign a checked site file. Raises: ConfigError."""
    try:
        key = load_pem_private_key(key_file.read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"{key_file}: cannot be read: {error.strerror}; give the key's file") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{key_file}: is no key without a password; make one: bollard site key FILE") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{key_file}: is no Ed25519 key; make one: bollard site key FILE")
    said = {"schema": 1, "files": _hashes(loaded), "name": name, "at": datetime.now(UTC).isoformat("T", "seconds")}
    path = signature_path(loaded.path)
    made = {**said, "signature": base64.b64encode(key.sign(_bytes(said))).decode()}
    try:
        write_whole(path, (json.dumps(made, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def verify(loaded: LoadedSite, trusted: Path) -> dict[str, Any]:
    """Who signed what was loaded: `name`, `at`, `key`. Raises: ConfigError."""
    path = signature_path(loaded.path)
    said = _read(path)
    signature, files = said.pop("signature"), said["files"]
    keys = _keys(trusted)
    signer = next((file for file, key in keys.items() if _is_by(key, signature, said)), None)
    if signer is None:
        names = ", ".join(file.name for file in keys)
        raise ConfigError(
            f"{path}: signed by no key that is trusted here ({trusted}: {names}), or changed; {REMEDY}"
        )
    now = _hashes(loaded)
    for file in sorted({*files, *now}):
        if files.get(file) != now.get(file):
            was, is_now = files.get(file, "not signed")[:12], now.get(file, "not used")[:12]
            raise ConfigError(
                f"{loaded.path.parent / file}: has changed since {said['name']} signed it on {said['at'][:10]}"
                f" (SHA-256 {is_now}…, signed {was}…); {REMEDY}"
            )
    return {"name": said["name"], "at": said["at"], "key": signer.name}


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        if said["schema"] != 1 or not all(isinstance(said[key], str) for key in ("name", "at", "signature")):
            raise ValueError("not a signature of schema 1")
        if not all(isinstance(text, str) for pair in said["files"].items() for text in pair):
            raise ValueError("files")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: is not there: this gateway takes signed site files only; {REMEDY}") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; its owner or mode?") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path}: is no signature of ours ({error}); {REMEDY}") from error
    return dict(said)


def _keys(trusted: Path) -> dict[Path, Ed25519PublicKey]:
    keys: dict[Path, Ed25519PublicKey] = {}
    for file in sorted(trusted.glob("*.pem")):
        try:
            key = load_pem_public_key(file.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file}: is no public key (PEM): {error}; replace it or take it out") from error
        if isinstance(key, Ed25519PublicKey):
            keys[file] = key
    if not keys:
        raise ConfigError(f"{trusted}: holds no key to trust (*.pem); copy the .pem of `bollard site key` there")
    return keys


def _is_by(key: Ed25519PublicKey, signature: str, said: dict[str, Any]) -> bool:
    try:
        key.verify(base64.b64decode(signature), _bytes(said))
    except (InvalidSignature, ValueError):
        return False
    return True


def _bytes(said: dict[str, Any]) -> bytes:
    """What is signed: the same for the same content, however the file is laid out."""
    return json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _hashes(loaded: LoadedSite) -> dict[str, str]:
    """By name as seen from the site file, of what was read; shipped profiles and cells belong to the package."""
    site = loaded.site
    packs = [device.battery for device in site.device] + [vessel.battery for vessel in site.vessel]
    named = [device.profile for device in site.device] + [pack.cell for pack in packs if pack is not None]
    own = {name for name in named if name.endswith(".toml")}
    return {loaded.path.name: loaded.sha256} | {name: loaded.files.sha256(name) for name in own}
