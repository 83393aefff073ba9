"""What is said of an alarm, a gateway and a computed row, to the page and to other systems."""

from functools import lru_cache
from typing import Any

from edge.wire import RowLine, decode_row
from gateway.events import sentence
from gateway.live import Gateway
from gateway.texts import LANGS, load_texts
from gateway.web.alarms import Alarm

PARTS = ("gate", "sluice", "light")  # parameters of a rule's event that hold ids of the site file


def alarm_state(alarm: Alarm) -> dict[str, Any]:
    site, device, code, point = alarm.key
    return {
        "site": site, "device": device, "code": code, "point": point, "state": alarm.state,
        "priority": alarm.priority, "active": alarm.active, "since_ms": ms(alarm.since_ns),
        "ended_ms": ms(alarm.ended_ns) if alarm.ended_ns else None, "times": alarm.times,
        "uncertain_ms": alarm.uncertain_ns / 1e6, "who": alarm.who, "comment": alarm.comment,
        "noted_ms": ms(alarm.noted_ns) if alarm.noted_ns else None,
        "shelved_until_ms": ms(alarm.shelved_until_ns) if alarm.shelved_until_ns else None,
        "text": sentences(alarm.key, alarm.event), "parts": parts_of(alarm.event),
    }  # fmt: skip


@lru_cache(maxsize=4096)
def sentences(key: tuple[str, str, str, str], event: str) -> dict[str, str]:
    """What happened, in each language. Not to be changed: it is kept."""
    site, device, code, _ = key
    said = {}
    for lang in LANGS:
        texts = load_texts(lang)
        own = texts.template(f"web.own.{code}")
        said[lang] = own.format(device=device, site=site) if own else sentence(decode_row(event), texts)
    return said


@lru_cache(maxsize=4096)
def parts_of(event: str) -> list[str]:
    """Parts of a lock that do not fit, as `gate up`: for the drawing. Not to be changed: it is kept."""
    fields = decode_row(event).fields if event else {}
    return [f"{kind} {name}" for kind in PARTS for name in str(fields.get(kind, "")).split()]


def computed_state(row: RowLine) -> dict[str, Any]:
    """Its fields; instants in milliseconds."""
    said: dict[str, Any] = {"t_ms": ms(row.t_ns)}
    for name, value in row.fields.items():
        whole = name.endswith("_ns") and isinstance(value, int)
        said[name.replace("_ns", "_ms") if whole else name] = ms(int(value)) if whole else value
    return said


def gateway_state(gateway: Gateway) -> dict[str, Any]:
    said = gateway.status
    until_ns = said.get("confirmed_until_ns")
    return {
        "online": gateway.online,
        "clock_trusted": bool(said.get("clock_trusted")),
        "confirmed_until_ms": ms(until_ns) if isinstance(until_ns, int) else None,
        "waiting": said.get("waiting"),
        "dropped": said.get("dropped"),
        "version": str(said.get("version", "")),
    }


def ms(t_ns: int) -> int:
    """Milliseconds: what a browser's clock counts in, exact in its numbers."""
    return t_ns // 1_000_000
