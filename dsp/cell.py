"""Cell models as data: read one, and pack it for the kernels."""

import math
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

POINTS = 101  # of every table, over SoC 0..1
TEMPERATURES = 8  # at most

PARAMS = np.dtype(  # one cell in a pack; tables over SoC 0, 0.01 .. 1
    [
        ("series", "f8"),
        ("parallel", "f8"),
        ("capacity_ah", "f8"),  # of one cell
        ("max_charge_a", "f8"),
        ("max_discharge_a", "f8"),
        ("efficiency", "f8"),  # of charge going in
        ("tau1_s", "f8"),
        ("tau2_s", "f8"),
        ("hysteresis_rate", "f8"),
        ("hysteresis_activation_k", "f8"),  # the half gap follows Arrhenius around 25 degC
        ("activation_k", "f8"),  # resistances beyond the identified temperatures follow Arrhenius
        ("slow_activation_k", "f8"),  # R2 and tau2 there, which are diffusion
        ("ocv_v", "f8", POINTS),
        ("half_gap_v", "f8", POINTS),
        ("sigma_v", "f8", POINTS),
        ("temps", "i8"),
        ("temp_c", "f8", TEMPERATURES),
        ("r_ohm", "f8", (TEMPERATURES, 3, POINTS)),  # R0, R1, R2
    ]
)

SCALARS = {  # key -> (lowest, highest), both allowed
    "capacity_ah": (1e-3, 1e4),
    "max_charge_a": (1e-3, 1e5),
    "max_discharge_a": (1e-3, 1e5),
    "coulombic_efficiency": (0.8, 1.0),
    "tau1_s": (0.1, 1e4),
    "tau2_s": (0.1, 1e5),
    "hysteresis_rate": (0.0, 1e4),
    "activation_k": (0.0, 1e4),
    "slow_activation_k": (0.0, 1e4),
    "hysteresis_activation_k": (0.0, 1e4),
}
OPTIONAL = {"hysteresis_activation_k": 0.0}


@dataclass(frozen=True)
class Cell:
    """One cell: open-circuit voltage, hysteresis and two RC pairs over SoC, resistances over temperature too.

    V = ocv(soc) + half_gap(soc) h + R0 i + R1 x1 + R2 x2, where x1 and x2 are the current behind first-order
    lags tau1 and tau2 (C = tau / R), and h in -1..1 follows the direction of the charge moved.

    Attributes:
        activation_k: Resistances go with exp(activation_k / T) between and beyond `temp_c`. [K]
        slow_activation_k: Beyond `temp_c`, R2 and tau2 go with exp(that / T), their capacitance kept. [K]
        hysteresis_activation_k: The half gap goes with exp(that / T); its table is for 25 degC. [K]
        sigma_v: What the model leaves unexplained. float64[101] [V]
        temp_c: Temperatures of `r_ohm`, rising. float64[t] [degC]
        r_ohm: R0, R1, R2. float64[t, 3, 101] [ohm]
    """

    name: str
    chemistry: str
    source: str
    capacity_ah: float
    max_charge_a: float
    max_discharge_a: float
    efficiency: float
    tau1_s: float
    tau2_s: float
    hysteresis_rate: float
    activation_k: float
    slow_activation_k: float
    hysteresis_activation_k: float
    ocv_v: NDArray[np.float64]
    half_gap_v: NDArray[np.float64]
    sigma_v: NDArray[np.float64]
    temp_c: NDArray[np.float64]
    r_ohm: NDArray[np.float64]


def cell_names() -> list[str]:
    """The models that are shipped."""
    folder = resources.files("dsp").joinpath("cells")
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_cell(name_or_path: str | Path, read: Callable[[Path], bytes] = Path.read_bytes) -> Cell:
    """Read a shipped model by name, or a file that ends in .toml, and check all of it.

    Args:
        read: Gives the content of a file, for who has to know what was read.

    Raises: ValueError with every problem, one a line.
    """
    path = Path(name_or_path)
    if path.suffix == ".toml":
        try:
            content, where = read(path), str(path)
        except FileNotFoundError as error:
            raise ValueError(f"cell {path}: no such file; shipped models are {', '.join(cell_names())}") from error
        except OSError as error:
            raise ValueError(f"cell {path}: cannot be read: {error.strerror}; its owner or mode?") from error
    elif str(name_or_path) in cell_names():
        where = f"{name_or_path}.toml"
        content = resources.files("dsp").joinpath("cells", where).read_bytes()
    else:
        raise ValueError(f"cell {name_or_path!r}: not one of {', '.join(cell_names())}, nor a file *.toml")
    try:
        table = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "save the file as UTF-8; a line is [table] or key = value, as in capacity_ah = 2.87"
        raise ValueError(f"{where}: not TOML: {error}; {remedy}") from error
    return _Reader(where, table).cell()


def pack_params(cell: Cell, series: int, parallel: int, capacity_ah: float | None = None) -> NDArray[Any]:
    """Parameters for `dsp.soc` of `series` x `parallel` such cells. PARAMS[1]

    Args:
        capacity_ah: What the pack holds now, if known better than new cells times `parallel`. Resistances go
            with its inverse. [Ah]

    Source: Kirchhoff's laws for equal cells: voltages add in series, currents in parallel.
    Raises: ValueError if a count is below 1 or the capacity is not positive.
    """
    if series < 1 or parallel < 1:
        raise ValueError(f"pack of {series} series x {parallel} parallel cells: each must be 1 or more")
    if capacity_ah is not None and not (math.isfinite(capacity_ah) and capacity_ah > 0):
        raise ValueError(f"pack capacity_ah = {capacity_ah} is not above 0; leave it out for new cells")
    params = np.zeros(1, PARAMS)
    params["series"], params["parallel"] = series, parallel
    params["capacity_ah"] = cell.capacity_ah if capacity_ah is None else capacity_ah / parallel
    for name in ("max_charge_a", "max_discharge_a", "efficiency"):
        params[name] = getattr(cell, name)
    for name in ("tau1_s", "tau2_s", "hysteresis_rate"):
        params[name] = getattr(cell, name)
    for name in ("activation_k", "slow_activation_k", "hysteresis_activation_k"):
        params[name] = getattr(cell, name)
    for name in ("ocv_v", "half_gap_v", "sigma_v"):
        params[name][0] = getattr(cell, name)
    n = len(cell.temp_c)
    scale = cell.capacity_ah / float(params["capacity_ah"][0])  # a smaller or aged cell resists more
    params["temps"] = n
    params["temp_c"][0, :n] = cell.temp_c
    params["r_ohm"][0, :n] = cell.r_ohm * scale
    return params


class _Reader:
    """Collects everything that is wrong with one table before it says so."""

    def __init__(self, where: str, table: dict[str, Any]) -> None:
        self.where, self.table = where, table
        self.problems: list[str] = []

    def cell(self) -> Cell:
        allowed = {"schema", "name", "chemistry", "source", "residual_v", *SCALARS}
        for key in sorted(set(self.table) - allowed - {"ocv", "hysteresis", "uncertainty", "resistance"}):
            self.problems.append(f"{key}: no such key; a cell has {', '.join(sorted(allowed))} and its tables")
        if self.table.get("schema") != 1:
            self.problems.append(f"schema = {self.table.get('schema')!r} is not 1")
        slow = {"slow_activation_k": self.table["activation_k"]} if "activation_k" in self.table else {}
        self.table = {**OPTIONAL, **slow, **self.table}
        scalars = {key: self.number(key, *limits) for key, limits in SCALARS.items()}
        ocv_v = self.curve("ocv", self.table.get("ocv"), "voltage_v", 0.5, 6.0)
        if self.problems == [] and (np.diff(ocv_v) < -0.01).any():
            self.problems.append("ocv.voltage_v falls by more than 10 mV as soc rises; sort it by soc")
        half_gap_v = self.curve("hysteresis", self.table.get("hysteresis"), "half_gap_v", 0.0, 0.5)
        sigma_v = self.curve("uncertainty", self.table.get("uncertainty"), "sigma_v", 1e-4, 0.5)
        blocks = self.table.get("resistance")
        if not isinstance(blocks, list) or not 1 <= len(blocks) <= TEMPERATURES:
            self.problems.append(f"[[resistance]]: 1 to {TEMPERATURES} tables are needed, one a temperature")
            blocks = []
        temp_c, r_ohm = [], []
        for k, block in enumerate(blocks):
            where = f"resistance[{k}]"
            temp_c.append(self.number("temp_c", -60.0, 100.0, block, where))
            r_ohm.append([self.curve(where, block, name, 0.0, 10.0) for name in ("r0_ohm", "r1_ohm", "r2_ohm")])
        if any(b <= a for a, b in pairwise(temp_c)):
            self.problems.append(f"resistance: temp_c = {temp_c} does not rise; order the tables")
        if self.problems:
            raise ValueError("\n".join(f"{self.where}: {problem}" for problem in self.problems))
        return Cell(
            str(self.table.get("name", "")), str(self.table.get("chemistry", "")),
            str(self.table.get("source", "")), scalars["capacity_ah"], scalars["max_charge_a"],
            scalars["max_discharge_a"], scalars["coulombic_efficiency"], scalars["tau1_s"],
            scalars["tau2_s"], scalars["hysteresis_rate"], scalars["activation_k"],
            scalars["slow_activation_k"], scalars["hysteresis_activation_k"], ocv_v, half_gap_v, sigma_v,
            np.array(temp_c), np.array(r_ohm),
        )  # fmt: skip

    def number(
        self, key: str, low: float, high: float, table: dict[str, Any] | None = None, where: str = ""
    ) -> float:
        value = (self.table if table is None else table).get(key)
        name = f"{where}.{key}" if where else key
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            self.problems.append(f"{name} = {value!r} is not a number from {low:g} to {high:g}")
            return math.nan
        return float(value)

    def curve(self, where: str, table: Any, name: str, low: float, high: float) -> NDArray[np.float64]:
        """A quantity over SoC, put on the common points."""
        none = np.full(POINTS, math.nan)
        if not isinstance(table, dict):
            self.problems.append(f"[{where}] is missing; it holds soc and {name}")
            return none
        try:
            soc, value = (np.array(table.get(key), dtype=np.float64) for key in ("soc", name))
        except (TypeError, ValueError):
            self.problems.append(f"{where}: soc and {name} must be lists of numbers")
            return none
        if soc.ndim != 1 or soc.shape != value.shape or len(soc) < 2:
            self.problems.append(f"{where}: soc and {name} must be lists of one length, 2 or more")
        elif soc[0] != 0.0 or soc[-1] != 1.0 or (np.diff(soc) <= 0).any():
            self.problems.append(f"{where}.soc must rise from 0 to 1; it goes from {soc[0]:g} to {soc[-1]:g}")
        elif not ((value >= low) & (value <= high)).all():
            self.problems.append(
                f"{where}.{name} goes from {value.min():g} to {value.max():g}, beyond {low:g}..{high:g}"
            )
        else:
            return np.interp(np.linspace(0.0, 1.0, POINTS), soc, value)
        return none
