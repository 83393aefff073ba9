"""Device profiles: what a device offers, as data. One file feeds driver, catalogue, simulator and tests."""

import difflib
import hashlib
import math
import tomllib
from collections.abc import Callable
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from drivers.errors import ProfileError
from drivers.profile_checks import problems_of

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
Kind = Literal["charger", "meter", "battery", "lock"]
Table = Literal["holding", "input", "coil", "discrete"]
NumberType = Literal[
    "bool", "uint16", "int16", "bcd16", "float16", "uint32", "int32", "bcd32", "float32",
    "uint64", "int64", "bcd64", "float64", "string",
]  # fmt: skip
WORDS = {
    "bool": 1, "uint16": 1, "int16": 1, "bcd16": 1, "float16": 1,
    "uint32": 2, "int32": 2, "bcd32": 2, "float32": 2,
    "uint64": 4, "int64": 4, "bcd64": 4, "float64": 4,
}  # fmt: skip
UNITS = {
    "_w": "W", "_v": "V", "_a": "A", "_hz": "Hz", "_wh": "Wh", "_var": "var", "_varh": "varh", "_m": "m",
    "_va": "VA", "_c": "°C", "_ohm": "Ω", "_s": "s",
}  # fmt: skip
EXACT_INTEGER = 2**53  # beyond it float64 skips integers


def _listed(value: Any) -> Any:
    """One number or none as a list, which is what the field holds."""
    return () if value is None else (value,) if isinstance(value, int) else value


def _checked_zones(zones: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    for first, last in zones:
        if not 0 <= first <= last <= 65_535:
            raise ValueError(f"[{first}, {last}] is not [first, last] within 0..65535")
    return zones


Numbers = Annotated[tuple[int, ...], BeforeValidator(_listed, json_schema_input_type=int | tuple[int, ...] | None)]
Zones = Annotated[tuple[tuple[int, int], ...], AfterValidator(_checked_zones)]


class Point(BaseModel):
    """One quantity of a device: where it is, how it is encoded, what it may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Name = Field(description="quantity_unit, as in power_w")
    type: NumberType = Field(description="encoding on the wire, as in int32")
    address: int | None = Field(None, ge=0, le=65_535, description="zero-based Modbus address, as sent")
    node: str | None = Field(None, description="OPC UA node id, as in ns=2;s=Pack.Voltage")
    table: Table | None = Field(None, description="holding, input, coil or discrete; else the profile's")
    order: Literal["abcd", "cdab", "badc", "dcba"] = Field(
        "abcd", description="byte order of a multi-register value; abcd is most significant first"
    )
    length: int = Field(0, ge=0, le=62, description="registers of a string")
    bit: int | None = Field(None, ge=0, le=15, description="bit of the register, for a bool")
    scale: float = Field(1.0, description="value = raw * scale + offset")
    offset: float = Field(0.0, description="value = raw * scale + offset")
    scale_from: Name | None = Field(
        None, description="the point that holds the power of ten to multiply by (SunSpec scale factor)"
    )
    range: tuple[float, float] | None = Field(None, description="lowest and highest value; else a fault")
    invalid: Annotated[
        tuple[int, ...], BeforeValidator(_listed, json_schema_input_type=int | tuple[int, ...] | None)
    ] = Field((), description="the raw number that means unknown, or a list of them")
    deadband: float = Field(
        0.0, ge=0.0, allow_inf_nan=False, description="changes up to this are noise, in the unit of the value"
    )
    codes: dict[str, str] = Field(default_factory=dict, description="meaning of each state code")
    wire: Literal["int", "float"] | None = Field(
        None, description="type of the field, where the encoding gives another than the kind's other profiles"
    )
    scan: Name = Field("live", description="scan class; live goes to the live lane")
    read: Literal["poll", "subscribe"] = Field("poll", description="poll, or subscribe (OPC UA only)")
    fr: str = Field("", description="label in French")
    en: str = Field("", description="label in English")

    @property
    def words(self) -> int:
        return self.length if self.type == "string" else WORDS[self.type]

    @property
    def wire_type(self) -> Literal["int", "float", "str"]:
        """Type of the field for ever: `wire`, else int where nothing is scaled, str for text, else float."""
        if self.type == "string":
            return "str"
        if self.wire is not None:
            return self.wire
        scaled = not (self.scale.is_integer() and self.offset.is_integer()) or self.scale_from is not None
        return "float" if scaled or self.type.startswith("float") else "int"

    @property
    def unit(self) -> str:
        """Unit that the name ends in, as a person writes it; empty for a number without unit."""
        return next((unit for suffix, unit in UNITS.items() if self.name.endswith(suffix)), "")

    @model_validator(mode="after")
    def _fits_together(self) -> "Point":
        if (self.type == "string") != (self.length > 0):
            raise ValueError('length (registers) goes with type = "string", and only with it')
        if self.bit is not None and self.type != "bool":
            raise ValueError('bit goes with type = "bool" only')
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ValueError("range is [lowest, highest]")
        if self.scale == 0.0 or not math.isfinite(self.scale):
            raise ValueError("scale is finite and not 0")
        if self.wire is not None and self.type in ("bool", "string"):
            raise ValueError(f"wire goes with a number, not with {self.type}")
        if self.scale_from is not None and self.type in ("bool", "string"):
            raise ValueError(f"scale_from goes with a number, not with {self.type}")
        return self


class Profile(BaseModel):
    """A device model. `points` in the order that rows, catalogue and quality digits use."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    schema_: Literal[1] = Field(alias="schema", description="version of this format: 1")
    kind: Kind = Field(description="charger, meter, battery or lock")
    model: str = Field(description="maker and model")
    protocol: Literal["modbus", "opcua"] = Field("modbus", description="modbus or opcua")
    source: str = Field(description="document, revision and pages that the map was taken from")
    caveats: tuple[str, ...] = Field((), description="what an engineer has to know")
    table: Table = Field("holding", description="table of points that name none")
    numbering: Literal["zero", "one"] = Field(
        "zero", description="what the source calls the first register; address stays zero-based, as sent"
    )
    max_registers: int = Field(125, ge=1, le=125, description="most registers that a request may ask for")
    max_bits: int = Field(2000, ge=1, le=2000, description="most coils or discrete inputs of a request")
    max_gap: int = Field(8, ge=0, le=124, description="unused registers that a request may bridge")
    forbidden: Zones | dict[Table, Zones] = Field(
        (), description="[first, last] registers never to be read, of all tables or by table"
    )
    together: tuple[tuple[Name, ...], ...] = Field(
        (), description="lists of points that one request has to read, as the signals of a lock rule"
    )
    point: tuple[Point, ...] = Field((), description="the points")

    @property
    def points(self) -> tuple[Point, ...]:
        return self.point

    @cached_property
    def index(self) -> dict[str, int]:
        """Name of a point -> its position in a row."""
        return {point.name: i for i, point in enumerate(self.point)}

    @cached_property
    def hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the profile's content; comments and defaults are left out.

        So it stays when this format gets another key.
        """
        content = self.model_dump_json(by_alias=True, exclude_defaults=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @cached_property
    def whole(self) -> frozenset[int]:
        """Positions of the points that travel as whole numbers."""
        return frozenset(i for i, point in enumerate(self.point) if point.wire_type == "int")

    @cached_property
    def rounded(self) -> list[int]:
        """Positions of the points that travel as whole numbers though their encoding has fractions."""
        return [i for i, point in enumerate(self.point) if point.wire == "int"]

    @property
    def scans(self) -> tuple[str, ...]:
        """Scan classes, in the order of first use."""
        return tuple(dict.fromkeys(point.scan for point in self.point))

    def table_of(self, point: Point) -> Table:
        return point.table or self.table

    def forbidden_in(self, table: Table) -> tuple[tuple[int, int], ...]:
        """First and last address of each zone of a table that must not be read."""
        return self.forbidden.get(table, ()) if isinstance(self.forbidden, dict) else self.forbidden

    def printed(self, address: int) -> int:
        """The number that the source document gives an address, prefixes such as 4xxxx left out."""
        return address + (self.numbering == "one")

    @model_validator(mode="after")
    def _points_fit(self) -> "Profile":
        problems = list(problems_of(self))
        if problems:
            raise PydanticCustomError("points", "{told}", {"told": "; ".join(problems), "problems": problems})
        return self


def explain_all(where: str, error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line per problem: where, the value seen, what is wrong, what to do."""
    lines = []
    for problem in error.errors():
        path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in problem["loc"]).lstrip(".")
        seen = problem["input"]
        shown = f" = {seen!r}" if isinstance(seen, str | int | float | bool) else ""
        message = problem["msg"].removeprefix("Value error, ")
        remedy = _remedy(model, problem)
        spot = f"{where}: {path}{shown}" if path else where
        lines.append(f"{spot}: {message}{remedy}")
    return lines


def _remedy(model: type[BaseModel], problem: Any) -> str:
    """What to write instead, taken from the field's own description."""
    fields = _fields_at(model, problem["loc"][:-1])
    if not fields:
        return ""
    if problem["type"] == "extra_forbidden":
        names = sorted(f.alias or name for name, f in fields.items())
        meant = difflib.get_close_matches(str(problem["loc"][-1]), names, 1)
        return "; " + (f"is it {meant[0]}? " if meant else "") + "it may be one of " + ", ".join(names)
    if not problem["loc"]:
        return ""
    last = problem["loc"][-1]
    field = next((f for name, f in fields.items() if last in (name, f.alias)), None)
    return f"; give {field.description}" if field is not None and field.description else ""


def _fields_at(model: Any, loc: tuple[int | str, ...]) -> dict[str, Any]:
    """Fields of the model that a location inside `model` leads to; empty where it leads nowhere."""
    for step in loc:
        if isinstance(step, int):
            continue
        fields = getattr(model, "model_fields", {})
        field = next((f for name, f in fields.items() if step in (name, f.alias)), None)
        if field is None:
            return {}
        model = _model_in(field.annotation)
    return dict(getattr(model, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in getattr(annotation, "__args__", ()):
        found = _model_in(part)
        if found is not None:
            return found
    return None


def not_toml(error: tomllib.TOMLDecodeError | UnicodeDecodeError) -> str:
    """What is wrong with a file that is no TOML, and what to do."""
    if isinstance(error, UnicodeDecodeError):
        byte = f"byte {error.start} is {error.object[error.start]:#04x}"
        return f"not UTF-8: {byte}; save the file as UTF-8"
    return (
        f'not TOML: {error}; a line is [table], [[table]] or key = value, with text in quotes: host = "10.20.0.7"'
    )


def shipped_profiles() -> list[str]:
    """Names of the profiles that come with bollard."""
    folder = resources.files("drivers") / "profiles"
    return sorted(item.name.removesuffix(".toml") for item in folder.iterdir() if item.name.endswith(".toml"))


def load_profile(
    name: str, beside: Path | None = None, read: Callable[[Path], bytes] = Path.read_bytes
) -> Profile:
    """Load and check a profile.

    Args:
        name: A shipped profile's name, or a path that ends in `.toml`.
        beside: Folder that a relative path starts from; the working folder if absent.
        read: Gives the content of a file, for who has to know what was read.

    Raises: ProfileError, with one line per problem.
    """
    if name.endswith(".toml"):
        path = (beside or Path()) / name
        where = str(path)
        try:
            text = read(path).decode("utf-8")
        except OSError as error:
            raise ProfileError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ProfileError(f"{path}: {not_toml(error)}") from error
    else:
        if name not in shipped_profiles():
            known = ", ".join(shipped_profiles())
            raise ProfileError(f"profile {name!r} is not known; use {known}, or a path that ends in .toml")
        where = f"drivers/profiles/{name}.toml"
        text = (resources.files("drivers") / "profiles" / f"{name}.toml").read_text(encoding="utf-8")
    return parse_profile(text, where)


def parse_profile(text: str, where: str) -> Profile:
    """Check the text of a profile; `where` names it in errors. Raises: ProfileError."""
    try:
        return Profile.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"{where}: {not_toml(error)}") from error
    except ValidationError as error:
        raise ProfileError("\n".join(explain_all(where, error, Profile))) from error
