"""What happens to a device's counters and clock, on top of its plant: pure functions of time and faults."""

from collections.abc import Callable

from firmware_sim.encode import Value
from firmware_sim.faults import NO_FAULTS, Fault, FaultView

NS = 1_000_000_000
HEARTBEAT_WRAPS = {"charger": 2**16, "lock": 2**16, "battery": 2**32}
_COUNTER = ("counter-rollover", "counter-reset", "counter-replacement", "counter-backwards")


def disturbed(
    kind: str,
    values: dict[str, Value],
    t_ns: int,
    faults: FaultView,
    counted_wh: Callable[[int], int] | None = None,
) -> dict[str, Value]:
    """A device's values with the faults of its heartbeat and its import register.

    Args:
        counted_wh: For a meter, what its register shows at an instant without faults. [Wh]
    """
    if faults is NO_FAULTS:
        return values
    if kind in HEARTBEAT_WRAPS:
        values["heartbeat"] = _heartbeat(kind, int(values["heartbeat"] or 0), t_ns, faults)
    if counted_wh is not None:
        happened = sorted((f for name in _COUNTER for f in faults.begun(name)), key=lambda f: f.since_ns)
        if happened:
            values["energy_import_total_wh"] = register_wh(counted_wh, t_ns, happened)
            if any(f.name == "counter-replacement" for f in happened):
                values["energy_export_total_wh"] = 0
    return values


def _heartbeat(kind: str, beat: int, t_ns: int, faults: FaultView) -> int:
    """A battery's copy may stand already; the others count the seconds since the start."""
    wraps, second = HEARTBEAT_WRAPS[kind], t_ns // NS
    frozen = faults.get("frozen-heartbeat")
    if frozen is not None:
        since = frozen.since_ns // NS
        beat = min(beat, since) if kind == "battery" else since % wraps
        second = since
    jump = faults.get("clock-jump")
    if jump is not None and second >= jump.since_ns // NS:
        beat = (beat + round(jump.number("by_s"))) % wraps
    return beat


def register_wh(counted_wh: Callable[[int], int], t_ns: int, happened: list[Fault]) -> int:
    """The register after all that happened to it, in order. What happened stays. [Wh]"""
    offset, modulus = 0, 0

    def shown(count_wh: int) -> int:
        count_wh += offset
        return count_wh % modulus if modulus else count_wh

    for fault in happened:
        then_wh = counted_wh(fault.since_ns)
        before_wh = shown(then_wh)
        if fault.name == "counter-rollover":
            after_wh, modulus_wh = int(fault.number("after_wh")), int(fault.number("modulus_wh"))
            modulus = modulus_wh or before_wh + after_wh
            offset = modulus - after_wh - then_wh
        elif fault.name == "counter-backwards":
            offset, modulus = before_wh - int(fault.number("by_wh")) - then_wh, modulus
        else:
            offset, modulus = int(fault.number("to_wh")) - then_wh, 0
    return max(0, shown(counted_wh(t_ns)))
