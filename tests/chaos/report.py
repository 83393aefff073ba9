"""What a run was, and what it found, as a person reads it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from chaos import site
from chaos.oracle import Verdict
from chaos.plan import Fault


@dataclass
class Run:
    """A run of the suite."""

    seed: int
    faults: Sequence[Fault]
    verdicts: list[Verdict] = field(default_factory=list)
    real_s: float = 0.0
    simulated_s: float = 0.0
    figures: dict[str, object] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)  # about the whole

    @property
    def problems(self) -> list[str]:
        return self.complaints + [text for verdict in self.verdicts for text in verdict.complaints]


def plan_text(faults: Sequence[Fault]) -> str:
    return "\n".join(str(fault) for fault in faults)


def text(run: Run) -> str:
    kinds = Counter(fault.kind for fault in run.faults)
    total = {
        name: sum(getattr(v, name) for v in run.verdicts)
        for name in ("sealed", "stored", "refused", "dropped", "lost", "doubled")
    }
    lines = [
        f"chaos: seed {run.seed}, {len(run.faults)} faults, {run.real_s:.0f} s real,"
        f" {run.simulated_s / 3600:.1f} h of process time at {site.SPEED:g} x",
        "faults: " + ", ".join(f"{name} {count}" for name, count in sorted(kinds.items())),
        *(f"{name}: {value}" for name, value in run.figures.items()),
    ]
    for verdict in run.verdicts:
        counts = ", ".join(
            f"{name} {getattr(verdict, name):,}"
            for name in ("sealed", "stored", "refused", "dropped", "lost", "doubled")
        )
        lines.append(f"{verdict.gateway}: {counts}")
        lines += [f"  {name}: {value:,.0f}" for name, value in verdict.figures.items()]
    balance = "=" if total["sealed"] == total["stored"] + total["refused"] + total["dropped"] else "IS NOT"
    lines.append(
        f"all: sealed {total['sealed']:,} {balance} stored {total['stored']:,} + refused {total['refused']:,}"
        f" + dropped {total['dropped']:,}; lost {total['lost']}, doubled {total['doubled']}"
    )
    lines += [f"WRONG: {problem}" for problem in run.problems] or ["nothing is wrong"]
    return "\n".join(lines)
