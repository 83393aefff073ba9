"""The register sheet of a profile, to be printed and taken to the device: Markdown or HTML, French or English."""

from collections.abc import Iterator
from html import escape

from drivers.profile import Point, Profile
from drivers.profile_doc import Words, caveats, cells, protocol, section
from edge.texts import Texts

COLUMNS = ("point", "where", "encoding", "unit", "range", "scan")
STYLE = """
@page { size: A4 landscape; margin: 12mm }
body { font: 9.5pt/1.35 sans-serif; color: #111; margin: 1.5em }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #999; padding: 2px 5px; text-align: left; vertical-align: top }
td:nth-child(1), td:nth-child(3) { font-family: monospace }
td:last-child { min-width: 7em }
thead { display: table-header-group } tr { break-inside: avoid }
h1 { font-size: 14pt; margin: 0 0 .3em }
"""


def words_of(texts: Texts) -> Words:
    return Words(
        source=texts("registers.source", source="{source}"), modbus=texts("registers.modbus", most="{most}"),
        from_one=texts("registers.from_one"), columns=tuple(texts(f"registers.{key}") for key in COLUMNS),
        number=texts("registers.number"), bit=texts("registers.bit"), unknown=texts("registers.unknown"),
    )  # fmt: skip


def markdown(profile: Profile, texts: Texts) -> str:
    kind = texts(f"site.{profile.kind}")
    lines = [f"# {profile.model} ({kind})", "", *section(profile, words_of(texts)), ""]
    codes = list(_codes(profile))
    lines += [f"- `{name}`: {meaning}" for name, meaning in codes] + ([""] if codes else [])
    return "\n".join([*lines, texts("registers.hash", hash=profile.hash)]) + "\n"


def html(profile: Profile, texts: Texts) -> str:
    """One file that needs nothing else; the last column is for what is read at the device."""
    words = words_of(texts)
    heads = [words.columns[0], texts("registers.label"), *words.columns[1:], texts("registers.on_site")]
    body = [
        f"<h1>{escape(profile.model)} ({escape(texts(f'site.{profile.kind}'))})</h1>",
        f"<p>{escape(words.source.format(source=profile.source))}</p>",
    ]
    if notes := list(caveats(profile)):
        body.append("<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes) + "</ul>")
    if profile.protocol == "modbus":
        body.append(f"<p>{escape(protocol(profile, words))}</p>")
    body.append("<table><thead><tr>" + "".join(f"<th>{escape(head)}</th>" for head in heads) + "</tr></thead>")
    for point in profile.points:
        name, *rest = cells(profile, point, words)
        row = [name, _label(point, texts), *rest, ""]
        body.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    body.append("</table>")
    if items := [f"<li><code>{escape(n)}</code>: {escape(m)}</li>" for n, m in _codes(profile)]:
        body += ["<ul>", *items, "</ul>"]
    body += [f"<p>{escape(texts(f'registers.{key}', hash=profile.hash))}</p>" for key in ("hash", "signed")]
    head = f'<meta charset="utf-8"><title>{escape(profile.model)}</title><style>{STYLE}</style>'
    start = f'<!doctype html>\n<html lang="{texts.lang}"><head>{head}</head><body>'
    return "\n".join([start, *body, "</body></html>"]) + "\n"


def _label(point: Point, texts: Texts) -> str:
    return point.fr if texts.lang == "fr" else point.en


def _codes(profile: Profile) -> Iterator[tuple[str, str]]:
    for point in profile.points:
        if point.codes:
            yield point.name, ", ".join(f"{code} = {meaning}" for code, meaning in point.codes.items())
