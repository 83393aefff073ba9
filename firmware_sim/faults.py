"""Faults on purpose: which are on, for which device, since when. No I/O.

The registry of names is in `fault_kinds.py`. A board remembers every fault of a run with its beginning and
its end, so what is active at an instant is a function of that instant: a plant that is asked about the
past is told the faults of the past, and the same times with the same faults give the same values.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from firmware_sim.fault_kinds import KINDS, FaultError, FaultKind, Setting

__all__ = [
    "KINDS", "NO_FAULTS", "DeviceTraits", "Fault", "FaultBoard", "FaultError", "FaultKind", "FaultView", "Setting",
]  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """One fault of one device. `options` holds every option of its kind, the defaults too.

    Times are simulated, counted from the start of the run, as a plant's are. [ns]
    """

    name: str
    device: str
    options: Mapping[str, Setting] = field(default_factory=dict)
    since_ns: int = 0
    until_ns: int | None = None  # None: until somebody switches it off

    def number(self, option: str) -> float:
        """An option that is a number."""
        return float(self.options[option])

    def text(self, option: str) -> str:
        """An option that is a text."""
        return str(self.options[option])

    def holds_at(self, t_ns: int) -> bool:
        return self.since_ns <= t_ns and (self.until_ns is None or t_ns < self.until_ns)


class FaultView(Protocol):
    """The faults of one device, as its plant is shown them at one instant."""

    def get(self, name: str) -> Fault | None:
        """The fault if it is active now."""

    def begun(self, name: str) -> tuple[Fault, ...]:
        """All faults of that name that have begun by now, ended or not, in order.

        For what does not heal when the fault ends: a meter that was reset stays reset.
        """


class _View:
    def __init__(self, faults: tuple[Fault, ...], t_ns: int) -> None:
        self._faults = faults
        self._t_ns = t_ns

    def get(self, name: str) -> Fault | None:
        for fault in reversed(self._faults):
            if fault.name == name and fault.holds_at(self._t_ns):
                return fault
        return None

    def begun(self, name: str) -> tuple[Fault, ...]:
        return tuple(f for f in self._faults if f.name == name and f.since_ns <= self._t_ns)


NO_FAULTS: FaultView = _View((), 0)


@dataclass(frozen=True)
class DeviceTraits:
    """What a fault is checked against.

    Args:
        protocol: One of those in `fault_kinds.py`.
        points: Names of the points.
        fitting: By fault, the points that can have it, where not all can.
        without: Faults that its plant cannot have, and why.
    """

    kind: str
    protocol: str
    points: frozenset[str] = frozenset()
    fitting: Mapping[str, frozenset[str]] = field(default_factory=dict)
    without: Mapping[str, str] = field(default_factory=dict)

    def fits(self, kind: FaultKind) -> bool:
        return kind.fits(self.kind, self.protocol) and kind.name not in self.without

    def points_for(self, fault: str) -> frozenset[str]:
        return self.fitting.get(fault, self.points)


class FaultBoard:
    """Every fault of a run.

    Args:
        devices: What can be made faulty. Empty: any name is taken, as in a plant's own test.
        elapsed_ns: The present, simulated, since the start. [ns]
    """

    def __init__(
        self,
        devices: Mapping[str, DeviceTraits] | None = None,
        elapsed_ns: Callable[[], int] = lambda: 0,
    ) -> None:
        self._traits = dict(devices or {})
        self._elapsed_ns = elapsed_ns
        self._faults: dict[str, tuple[Fault, ...]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, changed: Callable[[str], None]) -> None:
        """Have `changed(device)` called after each `on` and `off`."""
        self._listeners.append(changed)

    def on(self, name: str, device: str | None = None, **options: Setting) -> Fault:
        """Switch a fault on from now on; one that is on already starts anew with the new options.

        Args:
            device: May be left out where the fault fits exactly one device.

        Raises: FaultError: no such fault, device or option, or one that does not fit.
        """
        return self.plan(name, device, self._elapsed_ns(), None, options)

    def plan(
        self,
        name: str,
        device: str | None,
        since_ns: int,
        until_ns: int | None,
        options: Mapping[str, Setting],
    ) -> Fault:
        """A fault with a beginning and perhaps an end, as a scenario's script gives them. Raises: FaultError."""
        kind = KINDS.get(name)
        if kind is None:
            raise FaultError(f"fault {name!r} is not one of {', '.join(sorted(KINDS))}")
        device = self._device(kind, device)
        traits = self._traits.get(device)
        points = traits.points_for(name) if traits else None
        if points is not None and not points and any(option.point for option in kind.options.values()):
            raise FaultError(f"fault {name}: no point of {device} can have it")
        fault = Fault(name, device, kind.complete(options, points), since_ns, until_ns)
        kept = [_ended(f, since_ns) if f.name == name else f for f in self._faults.get(device, ())]
        self._faults[device] = tuple(sorted([*kept, fault], key=lambda f: f.since_ns))
        self._tell(device)
        return fault

    def off(self, name: str, device: str | None = None) -> tuple[Fault, ...]:
        """Switch a fault off, on one device or on all. Returns: what was on. Raises: FaultError."""
        if name not in KINDS:
            raise FaultError(f"fault {name!r} is not one of {', '.join(sorted(KINDS))}")
        if device is not None and self._traits and device not in self._traits:
            raise FaultError(f"device {device!r} is not one of {', '.join(self._traits)}")
        now_ns, ended = self._elapsed_ns(), []
        for each in [device] if device is not None else list(self._faults):
            before = self._faults.get(each, ())
            ended += [f for f in before if f.name == name and f.holds_at(now_ns)]
            self._faults[each] = tuple(_ended(f, now_ns) if f.name == name else f for f in before)
            self._tell(each)
        return tuple(ended)

    def active(self, device: str | None = None) -> tuple[Fault, ...]:
        """What is on now, on one device or on all."""
        faults: Iterable[Fault] = (
            self._faults.get(device, ())
            if device is not None
            else (fault for of_one in self._faults.values() for fault in of_one)
        )
        now_ns = self._elapsed_ns()
        return tuple(fault for fault in faults if fault.holds_at(now_ns))

    def get(self, device: str, name: str) -> Fault | None:
        """The fault if it is on now."""
        return self.at(device, self._elapsed_ns()).get(name) if device in self._faults else None

    def at(self, device: str, t_ns: int) -> FaultView:
        """The faults of a device at an instant, for its plant. Costs next to nothing without faults."""
        faults = self._faults.get(device)
        return NO_FAULTS if faults is None else _View(faults, t_ns)

    def untouched(self, device: str) -> bool:
        """Whether a device never had a fault and has none ahead: the servers' short cut."""
        return device not in self._faults

    def next_change_ns(self, now_ns: int) -> int | None:
        """When a fault next begins or ends by itself, after `now_ns`. [ns]"""
        instants = (
            t for of_one in self._faults.values() for fault in of_one for t in (fault.since_ns, fault.until_ns)
        )
        return min((t for t in instants if t is not None and t > now_ns), default=None)

    def all(self, device: str) -> tuple[Fault, ...]:
        """Every fault that a device has, had or will have."""
        return self._faults.get(device, ())

    def _device(self, kind: FaultKind, device: str | None) -> str:
        if not self._traits:
            if device is None:
                raise FaultError(f"fault {kind.name}: name the device")
            return device
        fitting = [name for name, traits in self._traits.items() if traits.fits(kind)]
        if device is None:
            if len(fitting) == 1:
                return fitting[0]
            raise FaultError(f"fault {kind.name}: name the device, one of {', '.join(fitting) or 'none here'}")
        if device not in self._traits:
            raise FaultError(f"device {device!r} is not one of {', '.join(self._traits)}")
        if device not in fitting:
            traits = self._traits[device]
            if kind.name in traits.without:
                raise FaultError(f"fault {kind.name}: does not fit {device}: {traits.without[kind.name]}")
            raise FaultError(
                f"fault {kind.name}: does not fit {device}, a {traits.kind} over {traits.protocol}; it fits "
                + (", ".join(fitting) or f"none of these devices, only {', '.join(kind.devices)}")
            )
        return device

    def _tell(self, device: str) -> None:
        for changed in self._listeners:
            changed(device)


def _ended(fault: Fault, now_ns: int) -> Fault:
    """The fault with its end at `now_ns`; one that ended before, or begins later, is left as it is."""
    return replace(fault, until_ns=now_ns) if fault.holds_at(now_ns) else fault
