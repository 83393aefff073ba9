"""What the contract of a delivery point allows now, for the 10-minute window on a berth's page."""

from collections.abc import Mapping
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.report.contracts import Contract, parse_contracts
from gateway.texts import local
from gateway.web.asks import AskSite, may_see
from gateway.web.hub import Hub
from gateway.web.people import User


async def subscribed(hub: Hub, user: User, asked: AskSite, _: Request) -> Response:
    """Delivery points with the tariff class and the subscribed power that hold now. Empty without contracts."""
    may_see(user, asked.site)
    found = []
    for site, zone in hub.live.zones.items():
        if not user.sees(site) or asked.site not in (None, site) or not hub.contracts:
            continue
        at = local(hub.clock.now_ns(), ZoneInfo(zone))
        contracts: Mapping[str, Contract] = parse_contracts(hub.contracts, site)
        for meter, contract in contracts.items():
            tariff = contract.tariff_at(at)
            power_w = None if tariff is None else contract.subscribed_w(tariff, at.date())
            found.append(
                {
                    "site": site,
                    "meter": meter,
                    "tariff": tariff,
                    "power_w": None if power_w is None else float(power_w),
                }
            )
    return JSONResponse({"subscribed": found})
