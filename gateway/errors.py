"""What can go wrong ashore, sorted by what the caller does next. `exit_code` is the command's."""


class GatewayError(Exception):
    """Root of this package's errors. The text is for a person: where, what was seen, what to do."""

    exit_code = 2


class ConfigError(GatewayError):
    """The shore file is wrong; nothing is started. Lists every problem, one a line."""


class StoreError(GatewayError):
    """The store or the book cannot be used as it is: trying again will not help."""


class StoreUnavailable(StoreError):
    """Full, locked, unreachable or overloaded at the moment: try again later, nothing was confirmed."""

    exit_code = 4


class Unreachable(GatewayError):
    """Nobody answers where a peer should be."""

    exit_code = 4
