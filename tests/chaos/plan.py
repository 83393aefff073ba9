"""Which faults hit the system, when, and for how long: drawn from a seed, so that it can be had again."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from chaos import site

GATEWAYS, WORKERS = tuple(site.SHARE), ("ingest-1", "ingest-2")
AGENTS_READABLE = tuple(name for name in GATEWAYS if name not in site.SPOKEN_TLS)
STEPPED = ("gw-b",)
UPLINKS = (*GATEWAYS, "shore")


@dataclass(frozen=True)
class Kind:
    """A kind of fault: whom it may hit, and how long it lasts. [s, real]

    `weight`: how often it is drawn, beside the others.
    """

    name: str
    targets: Sequence[str]
    weight: int
    least_s: float = 0.0
    most_s: float = 0.0


KINDS = (
    Kind("kill", (*GATEWAYS, *WORKERS), 10),
    Kind("kill-broker", ("broker",), 2, 0.2, 1.5),  # comes back with what it had saved
    Kind("wipe-broker", ("broker",), 2, 0.2, 1.5),
    Kind("restart-broker", ("broker",), 2, 0.1, 0.5),
    Kind("kill-database", ("database",), 2, 0.2, 2.0),
    Kind("power-cut", GATEWAYS, 4),
    Kind("clock-step", STEPPED, 2, 1.0, 3.0),  # of one gateway only: its times are an hour off from then on
    Kind("boot-without-time", ("gw-a", "gw-b"), 3, 5.0, 8.0),
    Kind("expired-certificate", site.SPOKEN_TLS, 2, 2.0, 4.0),
    Kind("network-cut", UPLINKS, 3, 0.2, 3.0),
    Kind("network-slow", UPLINKS, 2, 1.0, 4.0),
    Kind("network-half-open", UPLINKS, 3, 1.0, 4.0),
    Kind("doubled-messages", (*AGENTS_READABLE, "shore"), 2, 1.0, 5.0),
    Kind("reordered-messages", (*AGENTS_READABLE, "shore"), 2, 1.0, 5.0),
    Kind("database-refuses-connections", ("database",), 1, 0.5, 3.0),
    Kind("database-slow", ("database",), 2, 1.0, 4.0),
    Kind("database-silent", ("database",), 1, 1.0, 3.0),
    Kind("database-loses-answers", ("database",), 2, 0.5, 2.0),
    *(Kind(f"database-{status}", ("database",), 1, 0.3, 2.0) for status in (400, 401, 404, 422, 429, 500, 503)),
    Kind("disk-full", (*GATEWAYS, "shore"), 4, 0.5, 3.0),
)
BY_NAME = {kind.name: kind for kind in KINDS}
FIRST_S = 3.0  # devices are found, catalogues arrive
PAUSE_S = (0.3, 2.2)  # between the beginnings of two faults


@dataclass(frozen=True)
class Fault:
    """One line of the plan. Times in real seconds since simulated time began to run."""

    number: int
    at_s: float
    kind: str
    target: str
    for_s: float

    def __str__(self) -> str:
        lasting = f" for {self.for_s:.1f} s" if self.for_s else ""
        return f"{self.number:4d}  {self.at_s:7.1f} s  {self.kind} {self.target}{lasting}"


def draw(seed: int, count: int) -> list[Fault]:
    """`count` faults. Every kind comes once before chance alone decides, if there are enough of them."""
    return list(_draw(Random(seed), count))


def _draw(chance: Random, count: int) -> Iterator[Fault]:
    kinds = list(KINDS)
    chance.shuffle(kinds)
    weights = [kind.weight for kind in KINDS]
    free_s: dict[tuple[str, str], float] = {}  # no target suffers the same thing twice at once
    at_s = FIRST_S
    for number in range(1, count + 1):
        kind = kinds.pop() if kinds else chance.choices(KINDS, weights)[0]
        target = chance.choice(kind.targets)
        for_s = round(chance.uniform(kind.least_s, kind.most_s), 1)
        at_s = max(at_s, free_s.get((kind.name, target), 0.0))
        free_s[kind.name, target] = at_s + for_s + 0.5
        yield Fault(number, round(at_s, 1), kind.name, target, for_s)
        at_s += chance.uniform(*PAUSE_S)
