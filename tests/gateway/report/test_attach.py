"""Files in place of their stand-ins, in a PDF as typst writes it."""

import zlib

import pytest

from gateway.report import attach
from gateway.report.attach import filled, packed_here, stand_in

DATA = b'{"figures": []}' * 100


def pdf(stand_in: bytes, objects: bytes = b"1 0 obj\n<</Type/Catalog>>\nendobj\n") -> bytes:
    """One attachment, then one object, then the table."""
    about = b"/Subtype/application#2Fjson/Params<</Size %d/ModDate(D:20260930000000Z)>>>>" % len(stand_in)
    stream = b"<</Length %d/Type/EmbeddedFile%s\nstream\n%s" % (len(stand_in), about, stand_in)
    body = b"%PDF-1.7\n2 0 obj\n" + stream + b"\nendstream\nendobj\n"
    offsets = [len(body), len(b"%PDF-1.7\n")]
    body += objects
    lines = [b"0000000000 65535 f\r\n", *(b"%010d 00000 n\r\n" % offset for offset in offsets)]
    end = b"trailer\n<</Size 3/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(body) + 1)
    return body + b"\nxref\n0 3\n" + b"".join(lines) + end


def test_the_file_stands_in_its_place_and_the_table_names_where_objects_are() -> None:
    made = filled(pdf(stand_in(DATA)), {stand_in(DATA): DATA})
    start = made.index(b"stream\n") + len(b"stream\n")
    assert zlib.decompressobj().decompress(made[start:]) == DATA
    assert b"/Params<</Size 1500/" in made and stand_in(DATA) not in made
    table = made.index(b"xref\n0 3\n")
    entries = made[table + 9 : table + 69].split(b"\r\n")
    assert [made[int(entry[:10]) :][:7] for entry in entries[1:3]] == [b"1 0 obj", b"2 0 obj"]
    assert b"startxref\n%d\n" % table in made


def test_a_file_that_another_zlib_packed_is_packed_as_here(monkeypatch: pytest.MonkeyPatch) -> None:
    made = filled(pdf(stand_in(DATA)), {stand_in(DATA): DATA})
    with monkeypatch.context() as other:
        other.setattr(attach, "LEVEL", 0)
        elsewhere = filled(pdf(stand_in(DATA)), {stand_in(DATA): DATA})
    assert elsewhere != made and packed_here(elsewhere) == made == packed_here(made)
    at = made.index(b"stream\n") + len(b"stream\n") + 8
    with pytest.raises(ValueError, match="cannot be unpacked"):
        packed_here(made[:at] + b"\xff" + made[at + 1 :])


def test_a_pdf_of_another_form_is_an_error_not_a_broken_file() -> None:
    with pytest.raises(ValueError, match="0 of 1 attachments"):
        filled(b"%PDF-1.7\n" + b"\nxref\n0 0\n", {stand_in(DATA): DATA})
    with pytest.raises(ValueError, match="1 of 1 attachments, or its table"):
        filled(pdf(stand_in(DATA)).replace(b"xref", b"XREF"), {stand_in(DATA): DATA})
