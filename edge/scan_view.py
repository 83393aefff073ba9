"""What `bollard edge scan` shows of each device: what it is, which profile may fit, what to type next."""

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from drivers.probe_match import Match
from drivers.probe_url import url_of
from drivers.profile import load_profile
from drivers.scan import Sighting, WayIn
from edge.probe_command import shown_matches
from edge.texts import Texts

MOST_MATCHES = 3
WEAK = ("Basic128Rsa15", "Basic256")


class Names:
    """Names for the devices found, by kind and in order: meter-1, meter-2, charger-1."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def next(self, kind: str) -> str:
        self._counts[kind] += 1
        return f"{kind}-{self._counts[kind]}"


class Shown:
    """One sighting, with the device's name and the commands that come next.

    Attributes:
        profile: The shipped profile that fits best; empty if none does.
        swap: What has to be swapped in it: words, bytes, both, or nothing.
        device: NAME=PROFILE@URL for `bollard site new`; empty where nothing is known to fit.
        next: Commands.
    """

    def __init__(self, seen: Sighting, names: Names) -> None:
        self.seen = seen
        self.profile = self.swap = self.device = ""
        self.next: list[str] = []
        if seen.kind == "unit":
            self._unit(names)
        elif seen.kind == "opcua" and seen.ways_in:
            self._opcua(names)

    @property
    def good(self) -> list[Match]:
        return shown_matches(self.seen.matches)[0][:MOST_MATCHES]

    def _unit(self, names: Names) -> None:
        assert self.seen.address is not None
        url = url_of(self.seen.address)
        if not self.good:
            self.next = [_command("bollard edge probe", url, "--once")]
            return
        best = self.good[0]
        kind = best.reading.profile.kind if best.reading is not None else "device"
        name = names.next(kind)
        self.profile, self.swap = best.name, best.swap
        if best.name == "SunSpec":
            self.next = [_command("bollard edge probe", url, "--once")]
            return
        self.next = [_command("bollard edge probe", url, "--profile", best.name, "--once")]
        own = f"{name}.toml" if best.swap else best.name
        if best.swap:
            words = ("--like", best.name, "--swap", best.swap, "--out", own)
            self.next.append(_command("bollard profile new", *words))
        self.device = f"{name}={own}@{url}"

    def _opcua(self, names: Names) -> None:
        seen = self.seen
        self.next = [_command("bollard edge probe", seen.url)]
        if seen.fits and seen.choose >= 0:
            self.profile = max(seen.fits, key=lambda name: seen.fits[name][0])
            way = seen.ways_in[seen.choose]
            keys = {"security_policy": way.policy, "mode": way.mode, "server_fingerprint": way.fingerprint}
            query = f"?{urlencode(keys)}" if way.policy != "None" else ""
            name = names.next(load_profile(self.profile).kind)
            self.device = f"{name}={self.profile}@{seen.url}{query}"

    def as_json(self) -> dict[str, Any]:
        """For programs: the keys stay."""
        seen, address = self.seen, self.seen.address
        return {
            "where": seen.where, "kind": seen.kind, "why": seen.why,
            "url": url_of(address) if address else seen.url,
            "transport": address.transport if address else "", "unit_id": address.unit_id if address else None,
            "baud": address.baud if address and address.is_serial else None,
            "parity": address.parity if address and address.is_serial else None,
            "units_alike": seen.like, "plate": seen.plate,
            "profiles": [{"name": m.name, "fit": round(max(0.0, m.reading.score), 3) if m.reading else 0.0,
                          "swap": m.swap} for m in self.good]
            + [{"name": name, "fit": round(good / whole, 3), "swap": ""}
               for name, (good, whole) in seen.fits.items()],
            "security": [{"policy": way.policy, "mode": way.mode, "users": list(way.users),
                          "server_fingerprint": way.fingerprint, "chosen": i == seen.choose}
                         for i, way in enumerate(seen.ways_in)],
            "device": self.device, "next": self.next,
        }  # fmt: skip


def lines(shown: Shown, texts: Texts) -> Iterator[str]:
    """A block for one sighting; nothing for what is closed, which `rest` counts up."""
    seen = shown.seen
    if seen.kind == "closed":
        return
    if seen.kind == "unit":
        yield from _unit(shown, texts)
    elif seen.kind == "opcua":
        yield from _opcua(shown, texts)
    else:
        yield texts(f"scan.{seen.kind}", where=seen.where, why=seen.why)
    for n, command in enumerate(shown.next):
        yield f"  {texts('scan.next') if not n else ' ' * len(texts('scan.next'))} {command}"


def _unit(shown: Shown, texts: Texts) -> Iterator[str]:
    seen, address = shown.seen, shown.seen.address
    assert address is not None
    settings = (
        f" · {address.baud} {address.data_bits}{address.parity}{address.stop_bits}" if address.is_serial else ""
    )
    line = f"{seen.where} · {texts(f'scan.{address.transport}')}{settings} · "
    yield line + texts("scan.unit", unit=address.unit_id)
    if seen.like:
        yield "  " + texts("scan.alike", units=", ".join(map(str, seen.like)))
    if seen.plate:
        yield "  " + texts("probe.plate", plate=" · ".join(seen.plate))
    if not seen.requests:
        return
    if not shown.good:
        yield "  " + texts("scan.no_profile")
        return
    found = []
    for match in shown.good:
        swap = f", {texts(f'probe.if_{match.swap}')}" if match.swap else ""
        fit = 100 * max(0.0, match.reading.score) if match.reading is not None else 0.0
        found.append(f"{match.name} ({fit:.0f} %{swap})")
    yield "  " + texts("scan.profiles", profiles=", ".join(found))


def _opcua(shown: Shown, texts: Texts) -> Iterator[str]:
    seen = shown.seen
    yield f"{seen.where} · OPC UA"
    if not seen.ways_in:
        yield "  " + texts("scan.no_ways_in", why=seen.why)
        return
    offered = dict.fromkeys(
        _way(way) + (f" ({texts('scan.weak')})" if way.policy in WEAK else "") for way in seen.ways_in
    )
    yield "  " + texts("scan.offers", offered=", ".join(offered))
    if seen.choose < 0:
        yield "  " + texts("scan.choose_nothing")
    else:
        way = seen.ways_in[seen.choose]
        why = {"SignAndEncrypt": "encrypted", "Sign": "signed"}.get(way.mode, "none")
        yield "  " + texts(f"scan.choose_{why}", way=_way(way))
        if way.fingerprint and way.policy != "None":
            yield "  " + texts("scan.pin", subject=way.subject, until=way.valid_until, pin=way.fingerprint)
        yield "  " + texts("scan.users", users=", ".join(way.users))
    if seen.fits:
        nodes = ", ".join(f"{name} ({good}/{whole})" for name, (good, whole) in seen.fits.items())
        yield "  " + texts("scan.nodes", profiles=nodes)


def _way(way: WayIn) -> str:
    return way.policy if way.policy == "None" else f"{way.policy}/{way.mode}"


def rest(all_shown: Sequence[Shown], texts: Texts) -> Iterator[str]:
    """What did not answer, by reason; then the command that begins a site file with all that was found."""
    closed: dict[str, list[str]] = {}
    for shown in all_shown:
        if shown.seen.kind == "closed":
            closed.setdefault(shown.seen.why, []).append(shown.seen.where)
    for why, where in closed.items():
        yield texts("scan.closed", where=", ".join(where), why=why)
    devices = [shown.device for shown in all_shown if shown.device]
    if devices:
        yield texts("scan.site_new")
        yield "  bollard site new --name " + " ".join(
            [texts("scan.a_site"), "--gateway", texts("scan.a_gateway"), "--broker", texts("scan.a_broker"),
             *(f"\\\n    --device {shlex.quote(device)}" for device in devices)]
        )  # fmt: skip


def _command(start: str, *words: str) -> str:
    return f"{start} {shlex.join(words)}"
