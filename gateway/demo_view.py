"""The demo's live view: what anybody can see who subscribes to the broker, beside the plant's truth."""

import contextlib
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from edge import wire

STALE_S = 30.0  # of simulated time
ACROSS = 3  # values beside each other
SHOWN = {  # what of each kind fits on a screen
    "charger": ("state", "power_w", "voltage_v", "current_a", "limit_w", "plug_temp_c"),
    "meter": ("power_w", "energy_import_total_wh", "voltage_l1_v", "frequency_hz"),
    "battery": ("pack_voltage_v", "pack_current_a", "pack_temp_c", "soc_bms"),
    "lock": ("level_upstream_m", "level_chamber_m", "level_downstream_m", "gate_up_state", "gate_down_state",
             "sluice_up_position", "sluice_down_position"),
}  # fmt: skip


@dataclass
class Seen:
    """What the observer has heard so far; written by paho's thread, read under `lock`."""

    catalogue: wire.Catalogue | None = None
    rows: dict[tuple[str, str], wire.RowLine] = field(default_factory=dict)
    values: dict[tuple[str, str], wire.Value] = field(default_factory=dict)  # (device, point) -> newest
    status: dict[str, Any] = field(default_factory=dict)
    sent: int = 0
    confirmed: int = 0
    refused: int = 0
    minutes_wh: dict[str, int] = field(default_factory=dict)  # per meter, revision 0
    calls: list[wire.RowLine] = field(default_factory=list)
    lockages: int = 0


class Observer:
    """A subscriber like any other. It decides nothing: rows, receipts and status as they pass."""

    def __init__(self, host: str, port: int, site: str, gateway: str) -> None:
        self.lock, self.seen = threading.Lock(), Seen()
        self._heard: set[tuple[str | int, ...]] = set()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, clean_session=True)
        self._filter = wire.topic(site, gateway, "#")
        self._client.on_connect = lambda client, *_: client.subscribe(self._filter, qos=1)
        self._client.on_message = self._message
        self._client.reconnect_delay_set(1, 2)
        self._client.connect_async(host, port, keepalive=30)
        self._client.loop_start()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _message(self, _client: Any, _user: Any, message: mqtt.MQTTMessage) -> None:
        with self.lock, contextlib.suppress(ValueError, KeyError):  # anybody may publish nonsense
            self._hear(wire.parse_topic(message.topic)[2], bytes(message.payload))

    def _hear(self, leaf: str, payload: bytes) -> None:
        if leaf == "status":
            self.seen.status = json.loads(payload)
        elif leaf == "catalogue":
            self.seen.catalogue = wire.decode_catalogue(payload)
        elif leaf == "receipt":
            receipt = wire.decode_receipt(payload)
            if self._first("receipt", receipt.spool, receipt.batch):
                self.seen.confirmed += receipt.stored
                self.seen.refused += len(receipt.refused)
        else:
            header, lines = wire.decode_batch(wire.inflate(payload) if leaf == "data-z" else payload)
            if self._first("data", header.spool, header.batch):
                self._take(lines)

    def _first(self, *what: str | int) -> bool:
        """Whether this is heard for the first time: batches and receipts may come again."""
        new = what not in self._heard
        self._heard.add(what)
        return new

    def _take(self, lines: list[str]) -> None:
        seen = self.seen
        seen.sent += len(lines)
        for line in lines:
            row = wire.decode_row(line)
            device = row.tags.get("device", "")
            newest = seen.rows.get((row.kind, device))
            if newest is None or newest.t_ns <= row.t_ns:
                seen.rows[row.kind, device] = row
                if row.kind not in wire.COMPUTED:
                    seen.values |= {(device, name): value for name, value in row.fields.items()}
            if row.kind == "energy_1m":
                total = seen.minutes_wh.get(device, 0) + int(row.fields["import_wh"])
                seen.minutes_wh[device] = total
            elif row.kind == "session":
                seen.calls.append(row)
            elif row.kind == "lock_cycle":
                seen.lockages += 1


def render(seen: Seen, truth: Mapping[str, Any], real_s: float, left_s: float, restarts: list[str]) -> Group:
    """One calm screen. `truth` is the plant's; `real_s` and `left_s` are seconds on the wall."""
    now_ns = int(truth.get("t_ns", 0))
    parts: list[Any] = [_headline(seen, now_ns, real_s, left_s)]
    devices = Table(expand=True, box=None, pad_edge=False, header_style="dim")
    devices.add_column("device", no_wrap=True, min_width=9)
    devices.add_column("link", no_wrap=True, min_width=10)
    for title in ("values", *[""] * (ACROSS - 1)):
        devices.add_column(title, no_wrap=True, ratio=1)
    for device in seen.catalogue.devices if seen.catalogue else ():
        values = _values(seen, device, now_ns)
        for at in range(0, len(values), ACROSS):
            head = ("", "") if at else (device["name"], _link(seen, device, now_ns))
            devices.add_row(*head, *values[at : at + ACROSS])
    parts.append(Panel(devices, title="SIMULATION · as the shore sees it", border_style="dim"))
    parts.append(Panel(_figures(seen, truth), border_style="dim"))
    if restarts:
        parts.append(Text("; ".join(restarts[-2:]), style="yellow"))
    return Group(*parts)


def _headline(seen: Seen, now_ns: int, real_s: float, left_s: float) -> Text:
    status = seen.status
    clock = datetime.fromtimestamp(now_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    state = status.get("state", "not heard of yet")
    text = Text(f"bollard demo   {clock} simulated   gateway {state}   {real_s:.0f} s, {left_s:.0f} s to go")
    text.stylize("bold", 0, 12)
    return text


def _link(seen: Seen, device: Mapping[str, Any], now_ns: int) -> Text:
    row = seen.rows.get((device["kind"], device["name"]))
    if row is None:
        return Text("no data", style="dim")
    age_s = (now_ns - row.t_ns) / 1e9
    link = seen.rows.get(("link", device["name"]))
    trip = f" {link.fields['round_trip_ms']:.1f} ms" if link and "round_trip_ms" in link.fields else ""
    if age_s > STALE_S or (link is not None and link.fields.get("connected") == 0):
        return Text(f"stale {age_s:.0f} s", style="reverse dim")
    return Text(f"ok{trip}")


def _values(seen: Seen, device: Mapping[str, Any], now_ns: int) -> list[Text]:
    row = seen.rows.get((device["kind"], device["name"]))
    old = row is None or (now_ns - row.t_ns) / 1e9 > STALE_S
    texts = []
    points = {point["name"]: (i, point) for i, point in enumerate(device["points"])}
    for name in SHOWN[device["kind"]]:
        if name not in points:
            continue
        i, point = points[name]
        value = seen.values.get((device["name"], name))
        quality = _quality(row, i)
        if value is None or quality not in ("good", "uncertain", "unproven"):
            shown = f"— ({quality})"
        else:
            shown = _shown(value, point) + (f" ({quality})" if quality != "good" else "")
        texts.append(Text(style="dim" if old else "").append(f"{point['en']} ", style="dim").append(shown))
    return texts


def _quality(row: wire.RowLine | None, point: int) -> str:
    digits = row.fields.get("q") if row is not None else None
    if not isinstance(digits, str) or point >= len(digits) or digits[point] == "f":
        return "good"
    return wire.QUALITY.get(int(digits[point], 16), "bad")


def _shown(value: wire.Value, point: Mapping[str, Any]) -> str:
    if isinstance(value, str):
        return value
    code = point["codes"].get(str(int(value))) if point["codes"] else None
    if code is not None:
        return str(code)
    unit = point["unit"]
    if unit in ("W", "Wh"):
        return f"{value / 1e3:,.1f} k{unit}"
    if point["name"].startswith(("soc", "soh")):
        return f"{100 * value:.1f} %"
    if point["name"].endswith("_position"):
        return f"{100 * value:.0f} %"
    return f"{value:,.2f} {unit}".rstrip()


def _figures(seen: Seen, truth: Mapping[str, Any]) -> Table:
    table = Table(expand=True, box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim", width=20)
    table.add_column()
    charger = seen.values.get(("charger-1", "session_energy_wh"))
    if charger is not None:
        table.add_row(
            "energy of the call", f"{int(charger) / 1e3:,.1f} kWh by the tower, calls ended: {len(seen.calls)}"
        )
    for meter, energy_wh in sorted(seen.minutes_wh.items()):
        table.add_row(f"minutes {meter}", f"{energy_wh / 1e3:,.3f} kWh anchored to the register")
    estimate = seen.rows.get(("soc", "ferry-bms"))
    if estimate is not None:
        f = estimate.fields
        bms = seen.values.get(("ferry-bms", "soc_bms"))
        line = f"{_percent(f.get('soc'))} [{_percent(f.get('soc_low'))} … {_percent(f.get('soc_high'))}]"
        table.add_row("state of charge", f"{line}   BMS {_percent(bms)}   true {_percent(truth.get('soc'))}")
    phase = truth.get("locks", {}).get("lock-1", {}).get("phase", "—")
    table.add_row("lock", f"phase {phase}, lockages seen: {seen.lockages}")
    waiting = int(seen.status.get("waiting", 0))
    table.add_row("ledger", f"sent {seen.sent:,} · confirmed {seen.confirmed:,} · refused {seen.refused} · "
                  f"waiting at last status {waiting:,} rows")  # fmt: skip
    return table


def _percent(value: Any) -> str:
    return f"{100 * float(value):.1f} %" if isinstance(value, int | float) else "—"
