"""What can go wrong with a device, sorted by what the caller does next."""


class DriverError(Exception):
    """Root of all errors of this package."""


class DeviceUnreachable(DriverError):
    """No connection or no answer: try again later."""


class DeviceRefused(DriverError):
    """The device answers that it will not: asking again will not help.

    Attributes:
        code: Of a Modbus exception reply; 0 where there is none.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ReadingRejected(DriverError):
    """The device answers nonsense: the value is unknown, the link is fine."""


class ProfileError(DriverError):
    """A profile is wrong: nothing is read before it is right. Lists every problem, one a line."""
