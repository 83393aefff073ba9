"""From OPC UA results to rows: what is asked for in one read, and what each status and type means."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from math import isfinite

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from drivers.codec import Scaling
from drivers.errors import ProfileError
from drivers.opcua_transport import name_of
from drivers.profile import EXACT_INTEGER, WORDS, Point, Profile
from drivers.row import Quality, Row

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
            value, quality[i], problem = _taken(take, result)
            if isinstance(value, str):
                row.text[int(self.points[i])] = value
            else:
                values[i] = value
            problems.append(problem)
        numbers, grades = values[self._numbers], quality[self._numbers]
        self._scaling.finish(numbers, grades)
        values[self._numbers], quality[self._numbers] = numbers, grades
        row.values[self.points], row.quality[self.points] = values, quality
        return problems


class Reads:
    """The batches of any points, made once for each set of points and each limit."""

    MOST = 64  # sets that are kept: nodes that come and go make new ones

    def __init__(self, profile: Profile) -> None:
        """Raises: ProfileError, with a line for each node id that is none."""
        problems = []
        for point in profile.points:
            try:
                ua.NodeId.from_string(point.node)
            except (ua.UaError, ValueError) as error:
                what = f"point {point.name}: node = {point.node!r} is no node id ({error})"
                problems.append(f"{what}; write it as in ns=2;s=Pack.Voltage")
        if problems:
            raise ProfileError("\n".join(problems))
        self._profile = profile
        self._made: dict[tuple[tuple[int, ...], int], list[Batch]] = {}

    def of(self, points: tuple[int, ...], most: int) -> list[Batch]:
        """Batches of at most `most` nodes each."""
        found = self._made.get((points, most))
        if found is None:
            if len(self._made) >= self.MOST:
                self._made.clear()
            parts = range(0, len(points), most)
            found = self._made[points, most] = [Batch(self._profile, points[i : i + most]) for i in parts]
        return found


class Past:
    """Values of one point over time, as a history read brings them."""

    def __init__(self, point: Point) -> None:
        self._is_text = point.type == "string"
        self._take = _taker(point)
        self._scaling = Scaling([point])

    def decode(self, results: Sequence[ua.DataValue]) -> Iterator[tuple[int, float, int, str | None]]:
        """Source time [ns, UTC], value, quality and text of each; what has no time of its own is left out."""
        told = [
            one
            for one in results
            if one.SourceTimestamp is not None and _status(one) != ua.StatusCodes.BadBoundNotFound
        ]
        values = np.full(len(told), np.nan)
        quality = np.zeros(len(told), np.uint8)
        texts: list[str | None] = [None] * len(told)
        for i, one in enumerate(told):
            value, quality[i], _ = _taken(self._take, one)
            if isinstance(value, str):
                texts[i] = value
            else:
                values[i] = value
        if not self._is_text:
            self._scaling.finish(values, quality)
        times = [t_ns_of(one.SourceTimestamp) for one in told]
        yield from zip(times, values.tolist(), quality.tolist(), texts, strict=True)


def t_ns_of(time: datetime | None) -> int:
    """ns since 1970 of a time that is UTC whether it says so or not; 0 where there is none."""
    if time is None:
        return 0
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND * 1000


def _status(result: ua.DataValue) -> int:
    return 0 if result.StatusCode is None else int(result.StatusCode.value) & 0xFFFF_0000


def _taken(take: Callable[[object], Taken], result: ua.DataValue) -> Taken:
    """What a status and a value together mean."""
    status = _status(result)
    if status >= BAD:
        return np.nan, QUALITY.get(status, Quality.REFUSED), name_of(status)
    value, why, problem = take(None if result.Value is None else result.Value.Value)
    return value, Quality.UNCERTAIN if why == Quality.GOOD and status >= UNCERTAIN else why, problem


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
        if unknown and isfinite(value) and int(value) & ones in unknown:
            return np.nan, Quality.UNKNOWN, ""
        if abs(value) > EXACT_INTEGER and (whole or isinstance(value, int)):
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
