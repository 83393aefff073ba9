"""Whom figures are added up for: groups of sites, ports, operators, ship companies. From the shore file."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_-]+$")]
UNKNOWN = "unknown"


class Table(BaseModel):
    """A table of the shore file."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Group(Table):
    """Sites that are reported together, as all locks of a canal."""

    name: Name = Field(description="the group's name, as in axe-nord")
    sites: tuple[Name, ...] = Field(min_length=1, description='its sites, as in ["goeulzin", "courchelettes"]')


class Port(Table):
    name: Name = Field(description="the port's name, as in calais")
    sites: tuple[Name, ...] = Field(min_length=1, description="its sites")


class Operator(Table):
    name: Name = Field(description="who runs these sites, as in regie")
    kind: Literal["own", "contracted"] = Field("own", description="own (en régie) or contracted (sous-traité)")
    sites: tuple[Name, ...] = Field(min_length=1, description="the sites it runs")


class Company(Table):
    name: Name = Field(description="the ship company's name")
    vessels: tuple[Name, ...] = Field(min_length=1, description="its vessels, by their names in the site files")


class Perimeter(BaseModel):
    """All of them; what is not named belongs to `unknown`."""

    model_config = ConfigDict(frozen=True)

    groups: tuple[Group, ...] = ()
    ports: tuple[Port, ...] = ()
    operators: tuple[Operator, ...] = ()
    companies: tuple[Company, ...] = ()

    def group(self, name: str) -> Group | None:
        return next((g for g in self.groups if g.name == name), None)

    def port_of(self, site: str) -> str:
        return next((p.name for p in self.ports if site in p.sites), UNKNOWN)

    def operator_of(self, site: str) -> str:
        return next((o.name for o in self.operators if site in o.sites), UNKNOWN)

    def company_of(self, vessel: str) -> str:
        return next((c.name for c in self.companies if vessel in c.vessels), UNKNOWN)

    def ports_of(self, sites: Sequence[str]) -> tuple[str, ...]:
        """Ports of these sites; none if the shore file names none."""
        return tuple(dict.fromkeys(self.port_of(s) for s in sites)) if self.ports else ()

    def operators_of(self, sites: Sequence[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.operator_of(s) for s in sites)) if self.operators else ()

    def kind_of(self, operator: str) -> str:
        return next((o.kind for o in self.operators if o.name == operator), UNKNOWN)
