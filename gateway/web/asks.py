"""What may be asked of the API: each table of parameters with its bounds, and how a refusal is said."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gateway.live import NS
from gateway.web.history import MOST_PIXELS
from gateway.web.people import User

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]{1,80}$")]
LONGEST_NS = 20 * 366 * 86_400 * NS
FIRST_MS, LAST_MS = 0, 4_102_444_800_000  # 1970 to 2100
MOST_ROWS = 5000


class Problem(Exception):
    """A request that cannot be answered: an HTTP status and one sentence."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Asked(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Nothing(Asked):
    """No parameters."""


class AskSite(Asked):
    site: Name | None = Field(None, description="one site; all that the user may see if left out")


class AskHistory(Asked):
    site: Name = Field(description="the site's name")
    device: Name = Field(description="the device's name")
    fields: str = Field(
        pattern=r"^[a-z0-9_]{1,80}(,[a-z0-9_]{1,80}){0,7}$", description="1 to 8 field names with commas between"
    )
    kind: Name | None = Field(None, description="kind of rows, as in soc; the device's own if left out")
    start_ms: int = Field(ge=FIRST_MS, le=LAST_MS, description="first instant, milliseconds UTC")
    stop_ms: int = Field(ge=FIRST_MS, le=LAST_MS, description="first instant that is left out, milliseconds UTC")
    pixels: int = Field(
        800, ge=10, le=MOST_PIXELS, description="width of the drawing: two points for each at most"
    )
    format: Annotated[str, StringConstraints(pattern="^(json|csv)$")] = Field("json", description="json or csv")


class AskRows(Asked):
    site: Name = Field(description="the site's name")
    device: Name | None = Field(None, description="one device; all of the site if left out")
    start_ms: int | None = Field(
        None, ge=FIRST_MS, le=LAST_MS, description="first instant; 7 days ago if left out"
    )
    stop_ms: int | None = Field(
        None, ge=FIRST_MS, le=LAST_MS, description="first instant left out; now if left out"
    )
    most: int = Field(200, ge=1, le=MOST_ROWS, description="the newest so many")


class AskJournal(Asked):
    site: Name | None = Field(None, description="one site")
    device: Name | None = Field(None, description="one device")
    most: int = Field(200, ge=1, le=MOST_ROWS, description="the newest so many")


class Note(Asked):
    site: Name = Field(description="the alarm's site")
    device: Annotated[str, StringConstraints(max_length=80)] = Field(description="its device or gateway")
    code: Name = Field(description="its code")
    point: Annotated[str, StringConstraints(max_length=80)] = Field("", description="its point, if it has one")
    comment: Annotated[str, StringConstraints(max_length=500, strip_whitespace=True)] = Field(
        "", description="what the person has to say"
    )

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.site, self.device, self.code, self.point


class Shelve(Note):
    minutes: float = Field(ge=1, le=720, description="how long it is put aside")


class AskLock(Asked):
    site: Name = Field(description="the site's name")
    device: Name = Field(description="the lock's device")


def may_see(user: User, site: str | None) -> None:
    """Raises: Problem."""
    if site is not None and not user.sees(site):
        raise Problem(403, f"user {user.name!r} may not see site {site!r}")


def span_of(asked: AskRows, now_ns: int) -> tuple[int, int]:
    """First instant and the first left out; the last 7 days if nothing is given. Raises: Problem."""
    stop_ns = asked.stop_ms * 1_000_000 if asked.stop_ms is not None else now_ns + NS
    start_ns = asked.start_ms * 1_000_000 if asked.start_ms is not None else stop_ns - 7 * 86_400 * NS
    if not start_ns < stop_ns:
        raise Problem(400, "start_ms is not before stop_ms")
    return start_ns, stop_ns
