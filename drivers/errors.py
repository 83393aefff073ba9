"""What can go wrong with a device, sorted by what the caller does next."""


class DriverError(Exception):
    """Root of all errors of this package.

    Attributes:
        fault: The name under which a link counts it, as in `no_answer`; empty where it counts none.
    """

    fault = ""


class DeviceUnreachable(DriverError):
    """No connection or no answer: try again later."""


class DeviceRefused(DriverError):
    """The device answers that it will not: asking again will not help."""


class ReadingRejected(DriverError):
    """The device answers nonsense: the value is unknown, the link is fine."""


class ProfileError(DriverError):
    """A profile is wrong: nothing is read before it is right. Lists every problem, one a line."""


class BusDown(DeviceUnreachable):
    """Nothing answers on the whole connection or line, so nothing was sent: try again in `wait_s`. [s]"""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s
