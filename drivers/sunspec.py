"""SunSpec: what a device offers is found on the device, and becomes a profile.

A device has the characters "SunS" at one of three addresses, then models one behind the other, each with its
number and length, until number 65535. Names and units are ours; offsets, types and scale factors come from
`sunspec_models.py`. A device is asked once, and what it is kept as a file beside the site file:

    python -m drivers.sunspec HOST [PORT [UNIT]] > meter.toml
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from drivers.address import ModbusAddress
from drivers.bus import Bus
from drivers.codec import text_of
from drivers.errors import DeviceRefused, DriverError, ReadingRejected
from drivers.modbus_pdu import read_pdu
from drivers.profile import Kind, Profile, Table
from drivers.profile_toml import as_toml
from drivers.sunspec_models import MODELS, Field

Ask = Callable[[Table, int, int], Awaitable[bytes]]
BASES = (40_000, 50_000, 0)  # where pysunspec2 looks, too
MARK = b"SunS"
LAST = 0xFFFF
FUNCTIONS: dict[Table, int] = {"holding": 3, "input": 4}
MOST_MODELS = 64  # a device with more of them answers nonsense
METERS, INVERTERS, BATTERIES = (201, 202, 203, 204, 213), (103,), (802,)
UNIMPLEMENTED = {  # what a point that a device does not have reads; a float is NaN
    "int16": 0x8000, "sunssf": 0x8000, "uint16": 0xFFFF, "enum16": 0xFFFF,
    "uint32": 0xFFFF_FFFF, "bitfield32": 0xFFFF_FFFF,
}  # fmt: skip
TYPES = {
    "int16": "int16", "sunssf": "int16", "uint16": "uint16", "enum16": "uint16", "uint32": "uint32",
    "bitfield32": "uint32", "acc32": "uint32", "float32": "float32", "string": "string",
}  # fmt: skip

# SunSpec's name -> ours, French and English label; {n} is the phase.
PHASE_NAMES = {
    "Aph{}": ("current_l{n}_a", "Courant L{n}", "Current L{n}"),
    "PhVph{}": ("voltage_l{n}_v", "Tension L{n}", "Voltage L{n}"),
    "Wph{}": ("power_l{n}_w", "Puissance active L{n}", "Active power L{n}"),
    "VAph{}": ("apparent_power_l{n}_va", "Puissance apparente L{n}", "Apparent power L{n}"),
    "VARph{}": ("reactive_power_l{n}_var", "Puissance réactive L{n}", "Reactive power L{n}"),
    "PFph{}": ("power_factor_l{n}", "Facteur de puissance L{n}", "Power factor L{n}"),
    "TotWhImpPh{}": ("energy_import_l{n}_total_wh", "Index soutirage L{n}", "Import register L{n}"),
    "TotWhExpPh{}": ("energy_export_l{n}_total_wh", "Index injection L{n}", "Export register L{n}"),
}
METER_NAMES = {
    "W": ("power_w", "Puissance active", "Active power"),
    "VA": ("apparent_power_va", "Puissance apparente", "Apparent power"),
    "VAR": ("reactive_power_var", "Puissance réactive", "Reactive power"),
    "VAr": ("reactive_power_var", "Puissance réactive", "Reactive power"),
    "PF": ("power_factor", "Facteur de puissance", "Power factor"),
    "Hz": ("frequency_hz", "Fréquence", "Frequency"),
    "TotWhImp": ("energy_import_total_wh", "Index soutirage", "Import register"),
    "TotWhExp": ("energy_export_total_wh", "Index injection", "Export register"),
    "WH": ("energy_export_total_wh", "Index injection", "Export register"),
    "DCA": ("dc_current_a", "Courant continu", "DC current"),
    "DCV": ("dc_voltage_v", "Tension continue", "DC voltage"),
    "DCW": ("dc_power_w", "Puissance continue", "DC power"),
    "TmpCab": ("cabinet_temp_c", "Température de l'armoire", "Cabinet temperature"),
    "St": ("inverter_state", "État de l'onduleur", "Inverter state"),
    "Evt": ("event_word", "Mot d'événements", "Event word"),
    "Evt1": ("event_word", "Mot d'événements", "Event word"),
    **{f"PhVph{line}": (f"voltage_l{n}_v", f"Tension L{n[0]}-L{n[1]}", f"Voltage L{n[0]}-L{n[1]}")
       for line, n in (("AB", "12"), ("BC", "23"), ("CA", "31"))},
    **{f"PPVph{line}": (f"voltage_l{n}_v", f"Tension L{n[0]}-L{n[1]}", f"Voltage L{n[0]}-L{n[1]}")
       for line, n in (("AB", "12"), ("BC", "23"), ("CA", "31"))},
    **{pattern.format(letter): (name.format(n=n), fr.format(n=n), en.format(n=n))
       for pattern, (name, fr, en) in PHASE_NAMES.items() for n, letter in enumerate("ABC", 1)},
}  # fmt: skip
BATTERY_NAMES = {
    "V": ("pack_voltage_v", "Tension du pack", "Pack voltage"),
    "A": ("pack_current_a", "Courant du pack", "Pack current"),
    "W": ("pack_power_w", "Puissance du pack", "Pack power"),
    "CellVMax": ("cell_max_v", "Tension de cellule maxi", "Highest cell voltage"),
    "CellVMin": ("cell_min_v", "Tension de cellule mini", "Lowest cell voltage"),
    "CellVAvg": ("cell_avg_v", "Tension de cellule moyenne", "Mean cell voltage"),
    "SoC": ("soc_bms", "État de charge (BMS)", "State of charge (BMS)"),
    "SoH": ("soh_bms", "État de santé (BMS)", "State of health (BMS)"),
    "AChaMax": ("charge_limit_a", "Limite de charge", "Charge limit"),
    "ADisChaMax": ("discharge_limit_a", "Limite de décharge", "Discharge limit"),
    "WHRtg": ("capacity_rated_wh", "Capacité nominale", "Rated capacity"),
    "NCyc": ("cycle_total", "Nombre de cycles", "Cycle count"),
    "ChaSt": ("charge_state", "État de la charge", "Charge state"),
    "State": ("bank_state", "État de la batterie", "State of the bank"),
    "Evt1": ("alarm_word", "Mot d'alarmes", "Alarm word"),
    "Evt2": ("alarm_2_word", "Mot d'alarmes 2", "Alarm word 2"),
    "Hb": ("heartbeat", "Battement de vie", "Heartbeat"),
}
COMMON_NAMES = {"SN": ("serial", "Numéro de série", "Serial number"), "Vr": ("version", "Version", "Version")}
SLOW = ("serial", "version", "capacity_rated_wh", "cycle_total")
CAVEATS = {
    "meter": (
        "SunSpec does not fix which way power is positive: plausibility compares it with the registers",
        "32-bit counters (acc32) wrap: at 4 295 MWh with a scale factor of 0, sooner in finer steps",
    ),
    "inverter": (
        "an inverter delivers: power_w is the register with its sign turned, its counter is the export register",
    ),
    "battery": (
        "the model definition leaves open which way pack_current_a and pack_power_w are positive; compare with "
        "a charge before the estimate is trusted",
        "model 802 has no temperature",
    ),
}


@dataclass(frozen=True, slots=True)
class Found:
    """A model on a device: its number, where it begins, registers behind its header."""

    number: int
    address: int
    length: int


async def discover(ask: Ask, kind: Kind | None = None) -> Profile:
    """Find the models of a device and make the profile of one of them, with the common model's texts.

    Args:
        ask: Reads registers: table, address, count -> two bytes for each. Raises what a link raises.
        kind: Which model is meant on a device with several: meter or battery. Else meter before battery.

    Raises: DeviceRefused, where there is no SunSpec device, or none of a model that is known here.
    """
    base = await _base(ask)
    found = [model async for model in _models(ask, base)]
    numbers = [model.number for model in found]
    by_kind: dict[str, tuple[int, ...]] = {"meter": METERS + INVERTERS, "battery": BATTERIES}
    wanted = METERS + BATTERIES + INVERTERS if kind is None else by_kind.get(kind, ())
    chosen = next((model for number in wanted for model in found if model.number == number), None)
    if chosen is None:
        known = ", ".join(map(str, sorted(wanted))) or f"the known models is a {kind}"
        raise DeviceRefused(f"SunSpec models {numbers} at {base}; none of {known}; write a profile for the device")
    common = next((model for model in found if model.number == 1), None)
    maker = await _text(ask, common, "Mn"), await _text(ask, common, "Md")
    return make_profile(chosen, common, " ".join(part for part in maker if part), numbers)


async def discover_at(address: ModbusAddress, timeout_s: float = 3.0, kind: Kind | None = None) -> Profile:
    """`discover` on a connection of its own. Raises: DeviceUnreachable too."""
    bus = Bus(address)
    await bus.attach(timeout_s)
    try:
        return await discover(asks_through(bus, address.unit_id, timeout_s), kind)
    finally:
        bus.detach()


def asks_through(bus: Bus, unit_id: int, timeout_s: float) -> Ask:
    """What `discover` asks with, on a bus that others may share."""

    async def ask(table: Table, address: int, count: int) -> bytes:
        answer = await bus.ask(unit_id, read_pdu(FUNCTIONS[table], address, count), timeout_s)
        return answer[2:]  # behind function code and length

    return ask


def make_profile(model: Found, common: Found | None, maker: str, numbers: list[int]) -> Profile:
    """The profile of a model at its place."""
    kind, caveats, names = _role(model.number)
    points = [*_points(model, names, inverter=model.number in INVERTERS)]
    if common is not None:
        points += _points(common, COMMON_NAMES, inverter=False)
    also = f"the device has the models {', '.join(map(str, numbers))}; this profile reads {model.number}"
    return Profile.model_validate(
        {
            "schema": 1,
            "kind": kind,
            "model": f"{maker or 'unnamed device'}, SunSpec model {model.number}",
            "source": f"SunSpec model {model.number}, found on the device at {model.address}; "
            "definition from pysunspec2 1.3.7",
            "caveats": (*caveats, also),
            "max_gap": 124,  # models leave no hole, and a scale factor may stand far behind its value
            "point": points,
        }
    )


def _role(number: int) -> tuple[Kind, tuple[str, ...], dict[str, tuple[str, str, str]]]:
    if number in BATTERIES:
        return "battery", CAVEATS["battery"], BATTERY_NAMES
    extra = CAVEATS["inverter"] if number in INVERTERS else ()
    return "meter", CAVEATS["meter"] + extra, METER_NAMES


def _points(model: Found, names: dict[str, tuple[str, str, str]], inverter: bool) -> Iterator[dict[str, Any]]:
    """Points of a model that have a name here, then the scale factors that they use."""
    fields = {f.name: f for f in MODELS[model.number] if f.offset + f.words <= model.length + 2}
    factors: dict[str, None] = {}
    for sunspec, field in fields.items():
        if sunspec not in names or (field.factor and field.factor not in fields):
            continue
        yield _point(model, field, names[sunspec], inverter)
        if field.factor:
            factors[field.factor] = None
    for factor in factors:
        yield {
            "name": factor.lower(), "type": "int16", "address": model.address + fields[factor].offset,
            "invalid": UNIMPLEMENTED["sunssf"], "range": (-10, 10),
            "fr": f"Facteur d'échelle {factor}", "en": f"Scale factor {factor}",
        }  # fmt: skip


def _point(model: Found, field: Field, named: tuple[str, str, str], inverter: bool) -> dict[str, Any]:
    name, fr, en = named
    percent = name in ("soc_bms", "soh_bms") or (name.startswith("power_factor") and field.type != "float32")
    point: dict[str, Any] = {
        "name": name, "type": TYPES[field.type], "address": model.address + field.offset, "fr": fr, "en": en,
        "scale": (0.01 if percent else 1.0) * (-1.0 if inverter and name == "power_w" else 1.0),
        "scan": "slow" if name in SLOW else "live",
    }  # fmt: skip
    if field.factor:
        point["scale_from"] = field.factor.lower()
    if name.endswith("_total_wh"):
        point["wire"] = "int"
    if field.type in UNIMPLEMENTED:
        point["invalid"] = UNIMPLEMENTED[field.type]
    elif field.type == "acc32" and not field.mandatory:
        point["invalid"] = 0
    if field.type == "string":
        point["length"] = field.words
    if field.codes:
        point["codes"] = dict(field.codes)
    return point


async def _base(ask: Ask) -> int:
    for base in BASES:
        try:
            if await ask("holding", base, 2) == MARK:
                return base
        except (DeviceRefused, ReadingRejected):
            continue  # no registers there: the next address
    tried = ", ".join(map(str, BASES))
    raise DeviceRefused(f"no 'SunS' at {tried}; the device does not speak SunSpec, or on another unit id")


async def _models(ask: Ask, base: int) -> AsyncIterator[Found]:
    """The models from the first to the last, as their headers tell."""
    address = base + 2
    for _ in range(MOST_MODELS):
        header = await ask("holding", address, 2)
        number, length = int.from_bytes(header[:2], "big"), int.from_bytes(header[2:], "big")
        if number == LAST:
            return
        if address + 2 + length > LAST:
            raise ReadingRejected(
                f"SunSpec model {number} at {address} says it has {length} registers; it would end beyond 65535"
            )
        yield Found(number, address, length)
        address += 2 + length
    raise ReadingRejected(f"more than {MOST_MODELS} SunSpec models from {base} on; the last one is missing")


async def _text(ask: Ask, common: Found | None, name: str) -> str:
    if common is None:
        return ""
    field = next(f for f in MODELS[1] if f.name == name)
    return text_of(await ask("holding", common.address + field.offset, field.words)) or ""


def main(arguments: list[str]) -> int:
    """Print the profile of the device at a host, port and unit."""
    if not 1 <= len(arguments) <= 3 or not all(number.isdigit() for number in arguments[1:]):
        print("use: python -m drivers.sunspec HOST [PORT [UNIT]]", file=sys.stderr)
        return 2
    host, port, unit_id, *_ = *arguments, *("502", "1")[len(arguments) - 1 :]
    try:
        found = asyncio.run(discover_at(ModbusAddress(host, int(port), int(unit_id))))
    except DriverError as error:
        print(error, file=sys.stderr)
        return 1
    print(as_toml(found), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
