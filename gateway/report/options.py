"""What a report is reckoned with besides rows, catalogues and journal. Texts, not paths: frozen with it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction

from gateway.report.contracts import Contract, parse_contracts
from gateway.report.errors import WrongInput
from gateway.report.factors import Factors, load_factors, parse_own


@dataclass(frozen=True)
class Options:
    """`factors`, `contracts`: TOML of the person's own, "" for none; `targets`: CSV, likewise; `load_curves`,
    `intensity` (of the grid, by the hour): CSV texts by file name."""

    factors: str = ""
    contracts: str = ""
    load_curves: Mapping[str, str] = field(default_factory=dict)
    gwp: str = "ar5"
    allow_unverified: bool = False
    grid_factor: str = ""  # "": the average consumption mix of the year
    eua_eur_per_t: str = ""  # "": no allowance value
    pollutants: bool = False
    targets: str = ""
    intensity: Mapping[str, str] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()[:16]

    def load_factors(self) -> Factors:
        """Raises: WrongInput."""
        if not self.factors:
            return load_factors(self.gwp, self.allow_unverified)
        return parse_own(self.factors, self.gwp, self.allow_unverified)

    def load_contracts(self, site: str) -> Mapping[str, Contract]:
        """Those of a site, by meter. Raises: WrongInput."""
        return parse_contracts(self.contracts, site) if self.contracts else {}

    @property
    def eua(self) -> Fraction | None:
        if not self.eua_eur_per_t:
            return None
        try:
            price = Fraction(self.eua_eur_per_t)
        except ValueError:
            price = Fraction(-1)
        if price < 0:
            raise WrongInput(f"eua_eur_per_t {self.eua_eur_per_t!r} is not a price; give EUR per tonne, as in 70")
        return price


PLAIN = Options()
