"""The shore file: where rows go, which broker, which sites. Read once, before anything is opened."""

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlencode

from pydantic import BaseModel, Field, SecretStr, StringConstraints, ValidationError, model_validator

from edge.mqtt import HOST_PORT, Access, host_port, tls_files, tls_misfits
from gateway.errors import ConfigError
from gateway.perimeter import Company, Group, Name, Operator, Perimeter, Port
from gateway.perimeter import Table as _Table
from gateway.web.notices import MailSettings, NoticeSettings
from gateway.web.settings import WebSettings

if TYPE_CHECKING:
    from gateway.store import Store

TOKEN_VARIABLE = "BOLLARD_INFLUX_TOKEN"
SECRET = {"token", "webhook"}  # keys whose values no message shows


class InfluxSettings(_Table):
    """An InfluxDB 2 server, and where its token is."""

    url: str = Field(pattern=r"^https?://[^/?#]+/?$", description="the server, as in http://10.20.0.9:8086")
    org: str = Field(min_length=1, description="the organisation that owns the buckets")
    bucket: Name = Field(description="prefix of the three buckets, as in bollard")
    token: SecretStr = Field(SecretStr(""), description="an API token; better in a file or the environment")
    token_file: Path | None = Field(None, description="a file that holds the API token and nothing else")
    token_env: str = Field(TOKEN_VARIABLE, description=f"the variable with the token, as in {TOKEN_VARIABLE}")

    @property
    def secret(self) -> str:
        if self.token_file is not None:
            return self.token_file.read_text(encoding="utf-8").strip()
        return self.token.get_secret_value() or os.environ.get(self.token_env, "")


class StoreSettings(_Table):
    """Where rows are kept: a SQLite file, or InfluxDB."""

    url: str = Field("", pattern="^(sqlite:.+)?$", description="sqlite:PATH, as in sqlite:store.db")
    influx: InfluxSettings | None = Field(None, description="a table with url, org, bucket and token")
    raw_days: int | None = Field(
        None, ge=1, le=36_500,
        description="days that raw rows are kept; all if left out. Minutes, calls, lockages and events never go",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of_both(self) -> "StoreSettings":
        if bool(self.url) == (self.influx is not None):
            raise ValueError("give either url or influx")
        return self

    @property
    def address(self) -> str:
        """The URL that `gateway.store.open_store` takes. Holds no secret."""
        if self.influx is None:
            return self.url
        query = urlencode({"org": self.influx.org, "bucket": self.influx.bucket})
        return f"influx:{self.influx.url.rstrip('/')}?{query}"

    def open(self, create: bool = True) -> "Store":
        """The store itself; see `gateway.store.open_store`. Raises: StoreError, StoreUnavailable."""
        from gateway.store import open_store  # NumPy and all: not needed to check a file

        return open_store(self.address, token=self.influx.secret if self.influx else "", create=create)


class BrokerSettings(_Table):
    """The MQTT broker that gateways publish to."""

    embedded: bool = Field(False, description="true runs a broker in this process, on loopback only")
    host: str = Field("127.0.0.1", min_length=1, description="the broker's address, as in 10.20.0.8")
    port: int = Field(1883, ge=0, le=65_535, description="the broker's port; 0, embedded only, takes a free one")
    username: str | None = Field(None, description="user name, if the broker asks for one")
    password_file: Path | None = Field(None, description="a file that holds the password and nothing else")
    fallback: tuple[Annotated[str, StringConstraints(pattern=HOST_PORT)], ...] = Field(
        (), description="further brokers of the same system, tried in this order, as in 10.20.0.9:8883"
    )
    mqtt: Literal["3.1.1", "5"] = Field("3.1.1", description="version of MQTT: 3.1.1 or 5")
    tls_ca: Path | None = Field(None, description="the CA's certificate (PEM); TLS is used where it is given")
    tls_cert: Path | None = Field(None, description="this service's certificate (PEM)")
    tls_key: Path | None = Field(None, description="the key of tls_cert (PEM, mode 0600)")
    keepalive_s: int = Field(30, ge=5, le=3600, description="MQTT keep-alive in seconds")
    reconnect_s: int = Field(30, ge=1, le=3600, description="longest wait between two attempts to connect")
    share: Name | None = Field(
        None,
        description="a name that several workers have in common, as in ingest: a batch goes to one of them",
    )

    def access(self) -> Access:
        """What `edge.mqtt` takes. Reads the password."""
        secret = self.password_file.read_text(encoding="utf-8").strip() if self.password_file else None
        return Access(
            brokers=((self.host, self.port), *(host_port(text, self.port) for text in self.fallback)),
            keepalive_s=self.keepalive_s, reconnect_s=self.reconnect_s, version=self.mqtt,
            username=self.username, password=secret,
            tls=tls_files(Path(), self.tls_ca, self.tls_cert, self.tls_key),
        )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _tls_port(cls, table: Any) -> Any:
        if isinstance(table, dict) and table.get("tls_ca") is not None and "port" not in table:
            return table | {"port": 8883}
        return table

    @model_validator(mode="after")
    def _fits_together(self) -> "BrokerSettings":
        if self.password_file is not None and self.username is None:
            raise ValueError("password_file needs username beside it")
        if self.embedded and self.host not in ("127.0.0.1", "localhost"):
            raise ValueError(
                "an embedded broker listens on 127.0.0.1 only; leave host out, or set embedded = false"
            )
        if not self.embedded and self.port == 0:
            raise ValueError("port 0 goes with embedded = true only")
        if self.embedded and (self.tls_ca or self.fallback or self.share):
            raise ValueError("an embedded broker has no TLS, no fallback and one worker; take these keys out")
        return self


class HttpSettings(_Table):
    """Where ingest tells how it is: /metrics, /healthz, /readyz. Loopback, unless told otherwise."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on, as in 127.0.0.1")
    port: int = Field(ge=0, le=65_535, description="port to listen on, as in 9464; 0 takes a free one")


class BookSettings(_Table):
    """The small file beside the store: catalogues, refused rows, counters."""

    path: Path = Field(Path("book.db"), description="path of the book's SQLite file")


class ReportSettings(_Table):
    """What reports take beside the rows."""

    factors: Path | None = Field(None, description="a TOML file of your own factors, as in factors.toml")
    contracts: Path | None = Field(None, description="a TOML file of delivery contracts, as in contracts.toml")
    gwp: Literal["ar4", "ar5", "ar6"] = Field("ar5", description="set of warming potentials: ar4, ar5 or ar6")
    grid_factor: str = Field("", description="id of the grid's factor; left out: the mix of the year")
    eua_eur_per_t: str = Field("", description='price of an ETS allowance in EUR per tonne, as in "70"')
    pollutants: bool = Field(False, description="true: NOx, SO2 and PM that engines did not emit, too")
    targets: Path | None = Field(None, description="a CSV file of targets and trajectories, as in targets.csv")
    grid_intensity: tuple[Path, ...] = Field(
        (), description='CSV files of the hourly grid intensity, as in ["eco2mix-2026.csv"]'
    )
    closed: tuple[str, ...] = Field((), description='figures never published, as in ["lock.takeovers*"]')
    open_vessels: int = Field(3, ge=1, description="calls of fewer vessels than this are not published")


class ShoreSettings(_Table):
    """Everything the shore side needs to know. Paths in a file are relative to its folder."""

    schema_: Literal[1] = Field(alias="schema", description="version of this format: 1")
    production: bool = Field(False, description="true takes rows of origin real only")
    sites: tuple[Name, ...] = Field((), description="sites that are taken; none listed means all")
    store: StoreSettings = Field(description="a table with url or influx")
    broker: BrokerSettings = Field(default_factory=BrokerSettings, description="a table with host and port")
    book: BookSettings = Field(default_factory=BookSettings, description="a table with path")
    http: HttpSettings | None = Field(None, description="a table with port; without it nothing listens")
    web: WebSettings | None = Field(None, description="a table with host and port; for `bollard serve`")
    group: tuple[Group, ...] = Field((), description="sites reported together, each with name and sites")
    port: tuple[Port, ...] = Field((), description="ports, each with name and sites")
    operator: tuple[Operator, ...] = Field((), description="who runs which sites, each with name, kind and sites")
    company: tuple[Company, ...] = Field((), description="ship companies, each with name and vessels")
    report: ReportSettings = Field(
        default_factory=ReportSettings, description="a table with targets, grid_intensity, closed"
    )

    @property
    def perimeter(self) -> Perimeter:
        return Perimeter(groups=self.group, ports=self.port, operators=self.operator, companies=self.company)

    @model_validator(mode="after")
    def _once(self) -> "ShoreSettings":
        """What adds up must not hold a site or a vessel twice."""
        parts = (
            ("port", self.port, "sites"),
            ("operator", self.operator, "sites"),
            ("company", self.company, "vessels"),
        )
        for what, tables, part in parts:
            held = [name for table in tables for name in getattr(table, part)]
            twice = sorted({name for name in held if held.count(name) > 1})
            if twice:
                raise ValueError(f"{what}: {twice[0]!r} stands in two of them; leave it in one")
        return self


def load_shore(file: Path, secrets: bool = True) -> ShoreSettings:
    """Read and check a shore file; `secrets`: those that it names must be there.

    Raises: ConfigError, with one line per problem.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}; give an existing shore file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "save the file as UTF-8; a line is [table], [[table]] or key = value, with text in quotes"
        raise ConfigError(f"{file}: not TOML: {error}; {remedy}") from error
    return parse_shore(table, file, secrets)


def parse_shore(table: dict[str, Any], file: Path, secrets: bool = True) -> ShoreSettings:
    """Check the content of a shore file; `file` names it and anchors its paths. Raises: ConfigError."""
    try:
        settings = ShoreSettings.model_validate(table)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(file, problem) for problem in error.errors())) from error
    changed: dict[str, Any] = {"book": BookSettings(path=file.parent / settings.book.path)}
    if settings.store.url:
        path = file.parent / settings.store.url.removeprefix("sqlite:")
        changed["store"] = settings.store.model_copy(update={"url": f"sqlite:{path}"})
    influx = settings.store.influx
    if influx is not None and influx.token_file is not None:
        token_file = file.parent / influx.token_file
        if secrets and not token_file.is_file():
            raise ConfigError(
                f"{file}: store.influx.token_file = {str(token_file)!r}: is not there;"
                " `bollard influx setup` makes it"
            )
        anchored = influx.model_copy(update={"token_file": token_file})
        changed["store"] = settings.store.model_copy(update={"influx": anchored})
    changed["broker"] = _anchored(settings.broker, file)
    report = settings.report
    named = {name: getattr(report, name) for name in ("factors", "contracts", "targets")}
    anchored_files = {name: file.parent / path for name, path in named.items() if path}
    intensity = tuple(file.parent / path for path in report.grid_intensity)
    changed["report"] = report.model_copy(update={**anchored_files, "grid_intensity": intensity})
    if settings.web is not None:
        changed["web"] = settings.web.beside(file.parent)
    return settings.model_copy(update=changed)


def _anchored(broker: BrokerSettings, file: Path) -> BrokerSettings:
    """The same with absolute paths. Raises: ConfigError if a file is not there."""
    folder = file.parent
    problems = [
        f"{file}: broker.{key}{f' = {value!r}' if value else ''}: {message}"
        for key, value, message in tls_misfits(folder, broker.tls_ca, broker.tls_cert, broker.tls_key)
    ]
    paths = {"password_file": broker.password_file} | {
        name: getattr(broker, name) for name in ("tls_ca", "tls_cert", "tls_key")
    }
    changed = {name: folder / path for name, path in paths.items() if path is not None}
    secret = changed.get("password_file")
    if secret is not None and not secret.is_file():
        problems.append(
            f"{file}: broker.password_file = {str(secret)!r}: is not there; make it, or change the key"
        )
    if problems:
        raise ConfigError("\n".join(problems))
    return broker.model_copy(update=changed)


def _explain(file: Path, problem: Any) -> str:
    """One line: file, key, value seen, what is wrong, what to write instead."""
    place = problem["loc"]
    path = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    seen = problem["input"]
    shown = f" = {seen!r}" if isinstance(seen, str | int | float) and not SECRET & set(place) else ""
    message = problem["msg"].removeprefix("Value error, ")
    named = place[:-1] if place and isinstance(place[-1], int) else place  # an item has its list's remedy
    fields = _fields_at(named[:-1])
    field = fields.get(str(named[-1])) if named else None
    remedy = ""
    if problem["type"] == "extra_forbidden":
        remedy = "; use one of " + ", ".join(sorted(fields))
    elif field is not None:
        remedy = f"; give {field}"
    return f"{file}: {path}{shown}: {message}{remedy}" if path else f"{file}: {message}{remedy}"


def _fields_at(place: tuple[int | str, ...]) -> dict[str, str | None]:
    """Keys of the table at this place, and what each is for."""
    tables: dict[str, type[BaseModel]] = {
        "": ShoreSettings, "store": StoreSettings, "store.influx": InfluxSettings, "broker": BrokerSettings,
        "book": BookSettings, "http": HttpSettings, "group": Group, "port": Port, "operator": Operator,
        "company": Company, "report": ReportSettings, "web": WebSettings, "web.notice": NoticeSettings,
        "web.notice.mail": MailSettings,
    }  # fmt: skip
    model = tables.get(".".join(part for part in place if isinstance(part, str)))
    fields = model.model_fields if model else {}
    return {field.alias or name: field.description for name, field in fields.items()}
