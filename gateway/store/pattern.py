"""Knows good rows by their text: one regular expression per series of a kind, instead of a look at each field.

A row that matches is of the declared types, finite, within 64 bits, without a name or tag that could surprise; it
may go to the database as it came. Whatever does not match is no error: it is read the slow and exact way.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from edge.wire import TAGS, FieldType

# At most 17 digits before the point and two in the exponent: always finite. 18 digits always fit into 64 bits.
VALUE: Mapping[FieldType, str] = {
    "float": r"-?+\d{1,17}+(?:\.\d{1,20}+)?+(?:e[+-]?\d{1,2}+)?+", "int": r"-?+\d{1,18}+i",
    "str": r'"[^"\\\x00-\x1f]*+"',
}  # fmt: skip
END = r"(?:,(?! )|(?= ))"  # of a field: there is another, or it was the last
MOST_FIELDS = 600  # a longer expression takes too long to build


def pattern_of(types: Mapping[str, FieldType], pinned: Mapping[str, FieldType]) -> re.Pattern[str] | None:
    """For what stands after the first blank of a row's line; None if there are too many fields.

    Args:
        types: The kind's fields in the order in which its gateway writes them.
        pinned: Types that the store holds; only fields that it knows, with the same type, may go the fast way.
    """
    known = tuple((name, kind) for name, kind in types.items() if pinned.get(name) == kind and name not in TAGS)
    return _compiled(known) if 0 < len(known) <= MOST_FIELDS else None


@lru_cache(1024)
def _compiled(fields: tuple[tuple[str, FieldType], ...]) -> re.Pattern[str]:
    """Each field at most once, in this order; possessive, so that no text takes long to be turned down."""
    parts = "".join(f"(?:{re.escape(name)}={VALUE[kind]}{END})?+" for name, kind in fields)
    return re.compile(rf"(?! ){parts} -?[1-8]?\d{{1,18}}", re.ASCII)
