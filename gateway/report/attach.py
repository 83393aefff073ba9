"""Files put into a finished PDF, in place of stand-ins.

typst needs twelve times the bytes of what it attaches: 300 MB for 15 000 calls. So it attaches the digest
of each file, and with it all that a PDF says of a file (names, relations, tags); here the file takes its place.
The digest stays in what identifies the PDF: other data, other identity.
"""

import hashlib
import re
import zlib
from collections.abc import Callable, Mapping

STAND_IN = re.compile(
    rb"<</Length (?P<length>\d+)/Type/EmbeddedFile(?P<packed>/Filter/FlateDecode)?(?P<about>[^>]*?/Params<</Size )"
    rb"\d+(?P<end>[^>]*>>>>)\nstream\n"
)
XREF = re.compile(rb"\nxref\n0 (\d+)\n")
LEVEL = 3  # of packing: 6 takes more than twice the time for a tenth less
ENTRY = 20  # bytes of a line of the cross-reference table


def stand_in(data: bytes) -> bytes:
    return hashlib.sha256(data).hexdigest().encode()


def filled(pdf: bytes, files: Mapping[bytes, bytes]) -> bytes:
    """The PDF with each file in place of its stand-in, `files` by stand-in.

    Raises: ValueError if typst wrote the PDF in a way that this does not know.
    """
    return _with(pdf, files.__getitem__, len(files))


def packed_here(pdf: bytes) -> bytes:
    """The PDF with its files packed by the zlib of here: another one packs the same file in other bytes.

    Raises: ValueError if that is no PDF of ours, or a file in it cannot be unpacked.
    """
    return _with(pdf, lambda file: file, 0)


def _with(pdf: bytes, put: Callable[[bytes], bytes], least: int) -> bytes:
    """The PDF with what `put` makes of each attached file; of at least so many."""
    parts, moved, done, grown = [], [], 0, 0  # moved: from which offset on all is later, and by how much
    for found in STAND_IN.finditer(pdf):
        stop = found.end() + int(found["length"])
        raw = pdf[found.end() : stop]
        try:
            data = put(zlib.decompress(raw) if found["packed"] else raw)
        except zlib.error as error:
            raise ValueError(f"an attachment of {found['length'].decode()} bytes cannot be unpacked") from error
        packed = zlib.compress(data, LEVEL)
        head = b"<</Length %d/Type/EmbeddedFile/Filter/FlateDecode" % len(packed)
        new = head + found["about"] + b"%d" % len(data) + found["end"] + b"\nstream\n" + packed
        parts += [pdf[done : found.start()], new]
        grown += len(new) - (stop - found.start())
        moved.append((stop, grown))
        done = stop
    table = XREF.search(pdf, done)
    if len(moved) < least or table is None:
        raise ValueError(f"typst wrote {len(moved)} of {least} attachments, or its table, in an unknown way")
    start, stop, at = table.end(), table.end() + int(table[1]) * ENTRY, table.start() + 1
    end = pdf[stop:].replace(b"startxref\n%d\n" % at, b"startxref\n%d\n" % (at + grown))
    return b"".join([*parts, pdf[done:start], _moved(pdf[start:stop], moved), end])


def _moved(table: bytes, moved: list[tuple[int, int]]) -> bytes:
    """The cross-reference table with the offsets that objects have now."""
    lines = []
    for i in range(0, len(table), ENTRY):
        line = table[i : i + ENTRY]
        offset = int(line[:10])
        by = next((grown for stop, grown in reversed(moved) if offset >= stop), 0)
        lines.append(b"%010d" % (offset + by) + line[10:] if line[17:18] == b"n" else line)
    return b"".join(lines)
