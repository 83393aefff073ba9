"""From OPC UA results to rows: what is asked for in one read, and what each status and type means."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
from asyncua import ua
from asyncua.ua.status_codes import get_name_and_doc
from numpy.typing import NDArray

from drivers.codec import Scaling
from drivers.errors import ProfileError
from drivers.profile import EXACT_INTEGER, WORDS, Point, Profile
from drivers.row import Quality, Row

NODES_PER_READ = 500  # servers limit MaxNodesPerRead, small PLCs to about this
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
UNCERTAIN, BAD = 0x4000_0000, 0x8000_0000  # a status code's severity: OPC UA part 4, 7.39
QUALITY = {
    ua.StatusCodes.BadNoCommunication: Quality.NO_ANSWER,  # the server answers, what is behind it does not
    ua.StatusCodes.BadCommunicationError: Quality.NO_ANSWER,
    ua.StatusCodes.BadNotConnected: Quality.NO_ANSWER,
    ua.StatusCodes.BadTimeout: Quality.NO_ANSWER,
    ua.StatusCodes.BadWaitingForInitialData: Quality.UNKNOWN,
    ua.StatusCodes.BadNoData: Quality.UNKNOWN,
    ua.StatusCodes.BadNoDataAvailable: Quality.UNKNOWN,
    ua.StatusCodes.BadSensorFailure: Quality.UNKNOWN,
    ua.StatusCodes.BadDeviceFailure: Quality.UNKNOWN,
    ua.StatusCodes.BadOutOfService: Quality.UNKNOWN,
}  # any other bad one: REFUSED
Taken = tuple[float | str, Quality, str]


class Batch:
    """The nodes of one read.

    Attributes:
        parameters: The read, made once.
        wanted: What is read, in order.
        points: Their positions in a row.
    """

    def __init__(self, profile: Profile, points: Sequence[int]) -> None:
        self.wanted = [profile.points[index] for index in points]
        self.points = np.array(points, np.intp)
        self.parameters = ua.ReadParameters(
            MaxAge=0,
            TimestampsToReturn=ua.TimestampsToReturn.Source,
            NodesToRead=[
                ua.ReadValueId(NodeId=ua.NodeId.from_string(point.node), AttributeId=ua.AttributeIds.Value)
                for point in self.wanted
            ],
        )
        self._numbers = np.flatnonzero([point.type != "string" for point in self.wanted])
        self._scaling = Scaling([self.wanted[i] for i in self._numbers])
        self._take = [_taker(point) for point in self.wanted]

    def __str__(self) -> str:
        return f"{len(self.wanted)} nodes from {self.wanted[0].node}"

    def decode(self, results: Sequence[ua.DataValue], row: Row, source_t_ns: NDArray[np.int64]) -> list[str]:
        """Put the results into a row, the times of their sources beside it; tell what is wrong with each.

        Returns: per point what stops it from being a value, as `name of the problem: details`, or "".
        """
        values = np.full(len(results), np.nan)
        quality = np.zeros(len(results), np.uint8)
        problems = []
        for i, (take, result) in enumerate(zip(self._take, results, strict=True)):
            source_t_ns[self.points[i]] = t_ns_of(result.SourceTimestamp)
            status = result.StatusCode.value if result.StatusCode is not None else 0
            value, why, problem = take(result.Value.Value) if status < BAD else _bad(status)
            if isinstance(value, str):
                row.text[int(self.points[i])] = value
            else:
                values[i] = value
            quality[i] = Quality.UNCERTAIN if why == Quality.GOOD and status >= UNCERTAIN else why
            problems.append(problem)
        numbers, grades = values[self._numbers], quality[self._numbers]
        self._scaling.finish(numbers, grades)
        values[self._numbers], quality[self._numbers] = numbers, grades
        row.values[self.points], row.quality[self.points] = values, quality
        return problems


def batches(profile: Profile) -> dict[str, list[Batch]]:
    """The reads of each scan class. Raises: ProfileError, with a line for each node id that is none."""
    problems = []
    for point in profile.points:
        try:
            ua.NodeId.from_string(point.node)
        except (ua.UaError, ValueError) as error:
            what = f"point {point.name}: node = {point.node!r} is no node id ({error})"
            problems.append(f"{what}; write it as in ns=2;s=Pack.Voltage")
    if problems:
        raise ProfileError("\n".join(problems))
    reads: dict[str, list[Batch]] = {}
    for scan in profile.scans:
        points = [index for index, point in enumerate(profile.points) if point.scan == scan]
        parts = range(0, len(points), NODES_PER_READ)
        reads[scan] = [Batch(profile, points[i : i + NODES_PER_READ]) for i in parts]
    return reads


def name_of(status: int) -> str:
    """Name of a status code, as in BadNodeIdUnknown."""
    return str(get_name_and_doc(status & 0xFFFF_0000)[0])


def t_ns_of(time: datetime | None) -> int:
    """ns since 1970 of a time that is UTC whether it says so or not; 0 where there is none."""
    if time is None:
        return 0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND * 1000


def _bad(status: int) -> Taken:
    return np.nan, QUALITY.get(status & 0xFFFF_0000, Quality.REFUSED), name_of(status)


def _taker(point: Point) -> Callable[[object], Taken]:
    """How a value of this point becomes a number or a text, with its quality and what is wrong with it.

    bool and enumerations are numbers in OPC UA as in a row. A value of another nature than the profile says
    is no reading: an integer point that shows 1.5, a text where a number should be, an array.
    """
    whole = point.type not in ("string", "float32", "float64")
    ones = 2 ** (16 * WORDS.get(point.type, 1)) - 1
    unknown = {word & ones for word in point.invalid}

    def number(value: object) -> Taken:
        if value is None:
            return np.nan, Quality.UNKNOWN, ""
        if not isinstance(value, int | float):
            return np.nan, Quality.NONSENSE, f"wrong_type: {type(value).__name__} is not {point.type}"
        if value != value:  # NaN
            return np.nan, Quality.UNKNOWN, ""
        if whole and not float(value).is_integer():
            return np.nan, Quality.NONSENSE, f"wrong_type: {value!r} is not {point.type}"
        if unknown and int(value) & ones in unknown:
            return np.nan, Quality.UNKNOWN, ""
        if abs(value) > EXACT_INTEGER and isinstance(value, int):
            return np.nan, Quality.TOO_LARGE, ""
        if point.type == "bool":
            value = value != 0 if point.bit is None else int(value) >> point.bit & 1
        return float(value), Quality.GOOD, ""

    def text(value: object) -> Taken:
        if value is None:
            return np.nan, Quality.UNKNOWN, ""
        if isinstance(value, ua.LocalizedText):
            value = value.Text or ""
        if not isinstance(value, str) or not value.strip().isprintable():
            return np.nan, Quality.NONSENSE, f"wrong_type: {type(value).__name__} is not a printable text"
        return value.strip(), Quality.GOOD, ""

    return text if point.type == "string" else number
