"""Buckets, retention and tokens of an InfluxDB 2, made so that a second run changes nothing.

Ingest may write to the three buckets and read nothing; reports may read and change nothing. The token that makes
these belongs to a person and is used for this alone.
"""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import urllib3

from gateway.config import InfluxSettings
from gateway.errors import StoreError, StoreUnavailable

SUFFIXES = ("raw", "minutes", "events")
ROLES: Mapping[str, str] = {"ingest": "write", "report": "read"}
DAY_S = 86_400


@dataclass(frozen=True)
class Api:
    """InfluxDB's HTTP interface. The token never stands in a message."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Api({self.url})"

    def call(self, method: str, path: str, content: Any = None, **query: str) -> Any:
        """Raises: StoreError, StoreUnavailable."""
        where = f"{self.url.rstrip('/')}{path}"
        try:
            reply = urllib3.request(
                method, f"{where}?{urlencode(query)}" if query else where, timeout=30.0, retries=False,
                headers={"Authorization": f"Token {self.token}", "Content-Type": "application/json"},
                body=None if content is None else json.dumps(content).encode(),
            )  # fmt: skip
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(
                f"{where}: no answer ({type(error).__name__}); check store.influx.url"
            ) from error
        said: Any = None
        try:
            said = json.loads(reply.data) if reply.data else None
        except ValueError as error:
            raise StoreError(f"{where}: answers something that is not JSON; is this InfluxDB 2?") from error
        if reply.status in (401, 403):
            raise StoreError(
                f"{where}: the token is refused ({reply.status}); setup needs one that may manage buckets and"
                " tokens of the organisation (an operator or all-access token)"
            )
        if reply.status >= 400:
            text = said.get("message", "") if isinstance(said, dict) else ""
            raise (StoreUnavailable if reply.status >= 500 else StoreError)(f"{where}: {reply.status}: {text}")
        return said


def setup(
    influx: InfluxSettings, admin_token: str, folder: Path, raw_days: int | None, shorten: bool = False
) -> Iterator[str]:
    """Make what is missing, correct what differs; yields a line for each thing that is there in the end.

    Args:
        folder: Where the tokens go: `<bucket>-ingest.token` and `<bucket>-report.token`, mode 0600.
        raw_days: Days that raw rows stay; None: for ever.
        shorten: Allow a shorter retention than there is: rows older than that are lost.

    Raises: StoreError, StoreUnavailable.
    """
    api = Api(influx.url, admin_token)
    found = api.call("GET", "/api/v2/orgs", org=influx.org).get("orgs", [])
    if not found:
        raise StoreError(f"{influx.url}: no organisation {influx.org!r}; create it, or correct store.influx.org")
    org = str(found[0]["id"])
    buckets: dict[str, str] = {}
    for suffix in SUFFIXES:
        days = raw_days if suffix == "raw" else None
        name = f"{influx.bucket}-{suffix}"
        buckets[name], change = _bucket(api, org, name, days, shorten)
        yield f"bucket {name}: {change}, keeps {'rows for ever' if days is None else f'{days} days'}"
    for role, action in ROLES.items():
        file = folder / f"{influx.bucket}-{role}.token"
        change = _token(api, org, f"bollard {influx.bucket} {role}", action, list(buckets.values()), file)
        yield f"token {file}: {change}, may {action} these buckets and nothing else"


def _bucket(api: Api, org: str, name: str, days: int | None, shorten: bool) -> tuple[str, str]:
    """Id of a bucket with this retention, and what had to be done."""
    rules = [] if days is None else [{"type": "expire", "everySeconds": days * DAY_S}]
    bucket = _find(api, org, name)
    if bucket is None:
        made = api.call("POST", "/api/v2/buckets", {"orgID": org, "name": name, "retentionRules": rules})
        return str(made["id"]), "created"
    held_s = next((int(rule["everySeconds"]) for rule in bucket["retentionRules"]), 0)
    wanted_s = 0 if days is None else days * DAY_S
    if held_s == wanted_s:
        return str(bucket["id"]), "was there"
    if wanted_s and (held_s == 0 or wanted_s < held_s) and not shorten:
        held = f"{held_s // DAY_S} days" if held_s else "rows for ever"
        raise StoreError(
            f"bucket {name} keeps {held}; with {days} days older rows would be lost."
            " Give --shorten if that is meant"
        )
    api.call("PATCH", f"/api/v2/buckets/{bucket['id']}", {"retentionRules": rules})
    return str(bucket["id"]), "retention changed"


def _find(api: Api, org: str, name: str) -> Any:
    """A bucket by its name, or None: asked for one that is not there, InfluxDB answers 404 as to a wrong path."""
    seen = 0
    while True:
        page = api.call("GET", "/api/v2/buckets", orgID=org, limit="100", offset=str(seen))["buckets"]
        found = next((bucket for bucket in page if bucket["name"] == name), None)
        if found is not None or len(page) < 100:
            return found
        seen += len(page)


def _token(api: Api, org: str, description: str, action: str, buckets: list[str], file: Path) -> str:
    """See that the file holds a token with these rights; what had to be done. Never says the token."""
    wanted = {(action, bucket) for bucket in buckets}
    every = api.call("GET", "/api/v2/authorizations", orgID=org).get("authorizations", [])
    ours = [seen for seen in every if seen.get("description") == description]
    kept = file.read_text().strip() if file.is_file() else None
    for seen in ours:
        rights = {(p["action"], p["resource"].get("id")) for p in seen["permissions"]}
        right = rights == wanted and seen["status"] == "active" and len(ours) == 1
        if right and kept is not None and _works(Api(api.url, kept), org, action, buckets):
            _write_secret(file, kept)  # also if its mode was wrong
            return "was there"
    made = api.call(
        "POST", "/api/v2/authorizations",
        {"orgID": org, "description": description, "permissions": [
            {"action": action, "resource": {"type": "buckets", "id": bucket, "orgID": org}} for bucket in buckets
        ]},
    )  # fmt: skip
    _write_secret(file, str(made["token"]))
    for seen in ours:  # after the new one is on disk: whoever was killed in between has one token too many
        api.call("DELETE", f"/api/v2/authorizations/{seen['id']}")
    return "made anew" if ours else "created"


def _works(api: Api, org: str, action: str, buckets: list[str]) -> bool:
    """Whether a token is good for these buckets: InfluxDB keeps a hash of it, and cannot tell which one it is."""
    try:
        if action == "write":
            for bucket in buckets:
                api.call("POST", "/api/v2/write", org=org, bucket=bucket)  # no line: a question of rights
            return True
        seen = {bucket["id"] for bucket in api.call("GET", "/api/v2/buckets", orgID=org, limit="100")["buckets"]}
        return seen >= set(buckets)
    except StoreUnavailable:
        raise
    except StoreError:
        return False


def _write_secret(file: Path, text: str) -> None:
    part = file.with_name(f".{file.name}.part")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text + "\n")
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error.strerror}; give another --tokens folder") from error
