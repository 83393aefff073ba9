"""What an event says to a person: the edge's code and parameters as a sentence of one language."""

from fractions import Fraction

from edge.wire import RowLine, Value
from gateway.texts import Texts

NAMED = ("gate", "sluice", "light", "head")  # parameters that hold ids of the site file, with blanks between
DIGITS = {"value": 3, "limit": 3, "head_m": 2, "lasted_s": 0, "step_s": 3}  # of real numbers; others have none


class _Parameters(dict[str, str]):
    """An event may lack a parameter that its sentence names."""

    def __init__(self, known: dict[str, str], unnamed: str) -> None:
        super().__init__(known)
        self._unnamed = unnamed

    def __missing__(self, name: str) -> str:
        return self._unnamed


def sentence(row: RowLine, texts: Texts) -> str:
    """The event as a sentence; one that this version does not know is named by its code."""
    code, fields = row.tags.get("code", ""), row.fields
    ending = {1: "begin", 0: "end"}.get(_int(fields.get("active")), "told")
    template = texts.template(f"event.{code}.{ending}") or texts.template(f"event.{code}.{fields.get('detail')}")
    if template is None:
        return texts("event.unknown", code=code, point=row.tags.get("point", ""))
    known = {name: _shown(name, value, texts) for name, value in fields.items()}
    known["point"] = row.tags.get("point", "")
    known["device"] = row.tags.get("device", "")
    told = template.format_map(_Parameters(known, texts("event.unnamed")))
    return texts("event.inhibited", sentence=told) if fields.get("inhibited") else told


def _int(value: Value | None) -> int:
    return value if isinstance(value, int) else -1


def _named(ids: str, texts: Texts) -> str:
    """Ids in a person's words: `up down` is "amont et aval"; one that is somebody's own stays as it is."""
    words = [texts.template(f"event.id.{part}") or part for part in ids.split()]
    return texts("event.and").join(words)


def _shown(name: str, value: Value, texts: Texts) -> str:
    if isinstance(value, str):
        return _named(value, texts) if name in NAMED else value
    return texts.number(Fraction(value), DIGITS.get(name, 0) if isinstance(value, float) else 0)
