"""What keeps a report from being made; each is one sentence with what to do."""

from gateway.errors import GatewayError


class WrongInput(GatewayError):
    """The caller asked for a month, site or kind that does not exist."""

    exit_code = 2


class NoData(GatewayError):
    """The question is sound but no row answers it."""

    exit_code = 3
