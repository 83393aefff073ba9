"""The registry of faults: their names, whom they fit, their options with bounds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

Setting = float | str  # the value of an option
ALL_DEVICES = ("charger", "meter", "battery", "lock")
WITH_HEARTBEAT = ("charger", "battery", "lock")
TCP, RTU_OVER_TCP, SERIAL, OPCUA = "modbus-tcp", "modbus-rtu-over-tcp", "modbus-rtu", "opcua"
MODBUS = (TCP, RTU_OVER_TCP, SERIAL)
SOCKETS = (TCP, RTU_OVER_TCP)
EVERY = (*MODBUS, OPCUA)


class FaultError(ValueError):
    """A fault cannot be had. Says which, what was wanted and what there is."""


@dataclass(frozen=True)
class Option:
    """An option of a fault. A text with `choices` is one of them; `point` is the name of a point or ""."""

    default: Setting
    text: str
    low: float = 0.0
    high: float = 0.0
    choices: tuple[str, ...] = ()
    point: bool = False
    whole: bool = False

    @property
    def allowed(self) -> str:
        if self.point:
            return "the name of a point"
        if self.choices:
            return " or ".join(self.choices)
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class FaultKind:
    """A fault that can be had. `scope`: transport, value, plant or opcua."""

    name: str
    scope: str
    text: str
    devices: tuple[str, ...] = ALL_DEVICES
    protocols: tuple[str, ...] = EVERY
    options: Mapping[str, Option] = field(default_factory=dict)

    def describe(self) -> dict[str, object]:
        """As the control port shows it."""
        options = {
            key: {"default": option.default, "allowed": option.allowed, "text": option.text}
            for key, option in self.options.items()
        }
        return {
            "scope": self.scope,
            "text": self.text,
            "devices": list(self.devices),
            "protocols": list(self.protocols),
            "options": options,
        }

    def fits(self, kind: str, protocol: str) -> bool:
        return kind in self.devices and protocol in self.protocols

    def complete(self, given: Mapping[str, object], points: Iterable[str] | None = None) -> dict[str, Setting]:
        """All options, those given checked. `points`: names an option may take. Raises: FaultError."""
        unknown = sorted(set(given) - set(self.options))
        if unknown:
            known = ", ".join(self.options) or "it takes none"
            raise FaultError(f"fault {self.name}: option {unknown[0]!r} is not one of: {known}")
        return {key: self._checked(key, given.get(key, o.default), points) for key, o in self.options.items()}

    def _checked(self, key: str, value: object, points: Iterable[str] | None) -> Setting:
        option = self.options[key]
        wrong = FaultError(f"fault {self.name}: {key} = {value!r}; give {option.allowed} ({option.text})")
        if isinstance(option.default, str):
            if not isinstance(value, str) or (option.choices and value not in option.choices):
                raise wrong
            if option.point and value and points is not None and value not in set(points):
                raise FaultError(f"fault {self.name}: {key} = {value!r} is not one of {', '.join(sorted(points))}")
            return value
        try:
            number = float(value)  # type: ignore[arg-type]  # a command line gives text
        except (TypeError, ValueError):
            raise wrong from None
        if not option.low <= number <= option.high or (option.whole and number != int(number)):
            raise wrong  # NaN too
        return int(number) if option.whole else number


def _n(default: float, low: float, high: float, text: str) -> Option:
    return Option(default, text, low, high)


def _w(default: int, low: int, high: int, text: str) -> Option:
    return Option(default, text, low, high, whole=True)


_RATE = _n(1.0, 0.0, 1.0, "share of the answers that it hits, drawn from the scenario's seed")
_POINT = Option("", "one point; left out: every point it can be applied to", point=True)
_ONE_POINT = Option("", "the point; left out: the first of the profile", point=True)
_ANY_HEAD = Option("", "of which head; left out: wherever it fits", choices=("", "up", "down"))


def _transport(name: str, text: str, protocols: tuple[str, ...] = MODBUS, **options: Option) -> FaultKind:
    return FaultKind(name, "transport", text, ALL_DEVICES, protocols, options)


def _plant(name: str, text: str, devices: tuple[str, ...], **options: Option) -> FaultKind:
    return FaultKind(name, "plant", text, devices, EVERY, options)


_ALL = (
    # Below or at the frame. Durations of these are real seconds: sockets know no simulated time.
    _transport("silence", "requests are taken and not answered", rate=_RATE),
    _transport("refuse-connections", "connections are dropped, new ones refused", (*SOCKETS, OPCUA)),
    _transport("reset-connections", "a request is answered with a TCP reset", SOCKETS, rate=_RATE),
    _transport(
        "slow-bytes", "answers come byte by byte",
        pause_s=_n(0.02, 0.0, 10.0, "real seconds between two bytes"), rate=_RATE,
    ),
    _transport(
        "half-frame", "only the first half of an answer is sent",
        close=_w(0, 0, 1, "whether a TCP connection is closed then (1)"), rate=_RATE,
    ),
    _transport(
        "garbage", "random bytes instead of, or before, the answer",
        size=_w(16, 1, 250, "how many bytes"), then=_w(0, 0, 1, "1 if the right answer follows"), rate=_RATE,
    ),
    _transport(
        "wrong-unit", "answers carry another unit id",
        by=_w(1, 1, 254, "added to the right one"), rate=_RATE,
    ),
    _transport(
        "wrong-transaction", "answers carry another transaction id", (TCP,),
        by=_w(1, 1, 65_535, "added to the right one"), rate=_RATE,
    ),
    _transport(
        "late-answer", "answers come late, and so after the next request",
        delay_s=_n(1.0, 0.0, 60.0, "real seconds; 0: kept until the next request comes"), rate=_RATE,
    ),
    _transport("doubled-answer", "every answer is sent twice", rate=_RATE),
    # `words`: the byte count of the answer agrees with what it holds.
    _transport("short-answer", "answers hold fewer registers", words=_w(1, 1, 124, "how many fewer"), rate=_RATE),
    _transport("long-answer", "answers hold more registers", words=_w(1, 1, 124, "how many more"), rate=_RATE),
    _transport(
        "wrong-function", "answers carry another function code",
        function=_w(0, 0, 127, "the code; 0: 3 for 4 and 4 for 3"), rate=_RATE,
    ),
    _transport(
        "exception", "requests that touch a register of the range are refused",
        code=_w(4, 1, 255, "the exception code"), first=_w(0, 0, 65_535, "first register"),
        last=_w(65_535, 0, 65_535, "last register"), rate=_RATE,
    ),
    _transport(
        "busy-then-fine", "the first requests are refused as busy",
        times=_w(3, 1, 1000, "how many"), code=_w(6, 1, 255, "the exception code"),
    ),
    _transport(
        "second-master", "another master talks on the line", (SERIAL,),
        period_s=_n(0.25, 0.01, 60.0, "real seconds between its requests"),
        unit=_w(17, 1, 247, "the unit that it asks"), answered=_w(1, 0, 1, "whether that unit answers (1)"),
    ),
    # What a point serves.
    FaultKind("nan", "value", "a float is NaN", options={"point": _POINT}),
    FaultKind("sentinel", "value", "a point has its maker's value for unknown", options={"point": _POINT}),
    FaultKind("stuck", "value", "a point keeps the value it had", options={"point": _POINT}),
    FaultKind(
        "spike", "value", "some readings are far off",
        options={
            "point": _POINT, "factor": _n(10.0, -1e6, 1e6, "the value is multiplied with it"),
            "rate": _n(0.1, 0.0, 1.0, "share of the readings"),
        },
    ),
    FaultKind(
        "swapped-words", "value", "words of a value in the wrong order", ALL_DEVICES, MODBUS, {"point": _POINT},
    ),
    # Counters and clocks. What happened to a counter stays when the fault ends (`FaultView.begun`).
    _plant(
        "counter-rollover", "the register passes its highest value", ("meter",),
        after_wh=_w(1000, 0, 2**53, "how far below its end it stands when the fault begins"),
        modulus_wh=_w(0, 0, 2**53, "where it ends; 0: after_wh above what it shows, so nothing jumps"),
    ),
    _plant("counter-reset", "the register starts again", ("meter",), to_wh=_w(0, 0, 2**53, "at this value")),
    _plant(
        "counter-replacement", "another meter is in its place", ("meter",),
        to_wh=_w(17, 0, 2**53, "what the new one's import register shows"),
    ),
    _plant(
        "counter-backwards", "the register steps back once and counts on", ("meter",),
        by_wh=_w(500, 1, 2**53, "how far"),
    ),
    _plant(
        "clock-jump", "the PLC's clock jumps: heartbeats that count seconds, source timestamps", WITH_HEARTBEAT,
        by_s=_n(3600.0, -1e9, 1e9, "simulated seconds, back if negative"),
    ),
    _plant("frozen-heartbeat", "the heartbeat stands", WITH_HEARTBEAT),
    # A tower that breaks its first rule: no closed breaker without the safety loop.
    _plant(
        "breaker-welded", "the breaker does not open: power flows on while the safety loop is open",
        ("charger",),
        estop=_w(1, 0, 1, "whether an emergency stop is pressed meanwhile (1), so that it ought to open"),
    ),
    # OPC UA.
    FaultKind(
        "server-restart", "opcua", "the server is away for a while, then a new one listens", ALL_DEVICES, (OPCUA,),
        {"away_s": _n(1.0, 0.0, 600.0, "real seconds")},
    ),
    FaultKind("session-drop", "opcua", "all sessions are ended when it begins", ALL_DEVICES, (OPCUA,)),
    FaultKind(
        "silent-subscription", "opcua", "subscriptions say nothing more", ALL_DEVICES, (OPCUA,),
        {"keepalive": _w(1, 0, 1, "whether the empty keep-alives still come (1)")},
    ),
    FaultKind("unknown-node", "opcua", "a node is not there", ALL_DEVICES, (OPCUA,), {"point": _ONE_POINT}),
    FaultKind(
        "bad-sensor-failure", "opcua", "a node's status is BadSensorFailure", ALL_DEVICES, (OPCUA,),
        {"point": _ONE_POINT},
    ),
    # A lock that does not fit together (domain.md D.4).
    _plant(
        "lock-opposite-sluice-open", "a sluice is open while the other head's gate is not closed", ("lock",),
        head=_ANY_HEAD,
    ),
    _plant(
        "lock-sluice-open-while-gate-closes", "a sluice is open while the gate of its head closes", ("lock",),
        head=_ANY_HEAD,
    ),
    _plant("lock-opposite-gates-open", "both gates are open", ("lock",)),
    _plant("lock-opposite-sluices-open", "sluices of both heads are open while the chamber levels", ("lock",)),
    _plant(
        "lock-gate-opens-under-head", "a gate opens although the levels differ", ("lock",), head=_ANY_HEAD,
    ),
    _plant("lock-green-light-gate-closed", "a light is green at a closed gate", ("lock",), head=_ANY_HEAD),
    _plant(
        "lock-level-moves-all-closed", "the chamber's level moves with everything closed", ("lock",),
        rate_m_per_s=_n(-0.002, -1.0, 1.0, "how fast"),
    ),
    _plant("lock-level-still-sluice-open", "the chamber's level stands though a sluice is open", ("lock",)),
    _plant(
        "lock-mode-change-in-cycle", "the mode changes during a lockage", ("lock",),
        mode=_w(0, 0, 15, "the mode shown meanwhile, a code of the profile"),
    ),
)  # fmt: skip

KINDS: Mapping[str, FaultKind] = {kind.name: kind for kind in _ALL}
