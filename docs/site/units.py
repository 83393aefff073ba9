"""Units stand in square brackets in docstrings; without this, Markdown would look for a link of that name."""

import re
from typing import Any

import griffe


class Units(griffe.Extension):
    """Escapes [unit] in every docstring."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"\[([^\]\[]*)\](?!\()", r"\\[\1\\]", obj.docstring.value)
