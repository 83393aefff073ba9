"""What a report is reckoned with besides rows, catalogues and journal. Texts, not paths: frozen with it."""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path

from gateway.config import ReportSettings
from gateway.report.contracts import Contract, curve_files, parse_contracts
from gateway.report.errors import WrongInput
from gateway.report.factors import Factors, load_factors, parse_own


@dataclass(frozen=True)
class Options:
    """`factors`, `contracts`: TOML of the person's own, "" for none; `load_curves`: CSV texts by file name."""

    factors: str = ""
    contracts: str = ""
    load_curves: Mapping[str, str] = field(default_factory=dict)
    gwp: str = "ar5"
    allow_unverified: bool = False
    grid_factor: str = ""  # "": the average consumption mix of the year
    eua_eur_per_t: str = ""  # "": no allowance value
    pollutants: bool = False

    @classmethod
    def read(cls, settings: ReportSettings) -> "Options":
        """From the shore file's table; reads the files that it names. Raises: WrongInput."""
        contracts = _text(settings.contracts)
        curves = {}
        for name in curve_files(contracts):
            path = settings.contracts.parent / name if settings.contracts is not None else Path(name)
            curves[name] = _text(path)
        return cls(
            factors=_text(settings.factors), contracts=contracts, load_curves=curves, gwp=settings.gwp,
            allow_unverified=settings.allow_unverified, grid_factor=settings.grid_factor or "",
            eua_eur_per_t="" if settings.eua_eur_per_t is None else str(settings.eua_eur_per_t),
            pollutants=settings.pollutants,
        )  # fmt: skip

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


def _text(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text("utf-8-sig")
    except OSError as error:
        raise WrongInput(f"{path}: cannot be read: {error.strerror}; give an existing file") from error
    except UnicodeDecodeError as error:
        raise WrongInput(f"{path}: not UTF-8: {error.reason}") from error
