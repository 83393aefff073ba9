"""The PDF, read back by other programs than the one that wrote it."""

import io
import re
import subprocess
from pathlib import Path
from typing import Any

import pikepdf
import pytest

from gateway.report.issue import Format, Issue, issue

PDFA = "http://www.aiim.org/pdfa/ns/id/"
PDFUA = "http://www.aiim.org/pdfua/ns/id/"
LANGUAGES = pytest.mark.parametrize("lang", ["fr", "en"])


@pytest.fixture
def made(demo: Any) -> Issue:
    return issue(demo.store, demo.book, "2026-10", "demo-port")


def opened(made: Issue, lang: str) -> pikepdf.Pdf:
    return pikepdf.open(io.BytesIO(made.render(Format.PDF, lang)))


def fonts(pdf: pikepdf.Pdf) -> list[pikepdf.Object]:
    """Every font of the file, those inside composed ones too."""
    found = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary) and o.get("/Type") == "/Font"]
    return [font for font in found if "/DescendantFonts" not in font]


@LANGUAGES
def test_it_says_what_it_is_and_of_when(made: Issue, lang: str) -> None:
    with opened(made, lang) as pdf:
        meta = pdf.open_metadata()
        assert (meta[f"{{{PDFA}}}part"], meta[f"{{{PDFA}}}conformance"]) == ("3", "A")
        assert meta[f"{{{PDFUA}}}part"] == "1"
        assert "demo-port" in meta["dc:title"] and str(pdf.Root.Lang).startswith(lang)
        assert str(pdf.docinfo["/CreationDate"]).startswith("D:20261031")  # the month's, not today's


def test_every_font_is_inside(made: Issue) -> None:
    with opened(made, "fr") as pdf:
        assert fonts(pdf)
        for font in fonts(pdf):
            files = {"/FontFile", "/FontFile2", "/FontFile3"}
            assert font.get("/Subtype") == "/Type3" or files & set(font.FontDescriptor.keys()), font.BaseFont


@LANGUAGES
def test_its_attachments_are_the_files_beside_it(made: Issue, lang: str) -> None:
    with opened(made, lang) as pdf:
        found = {name: spec.get_file().read_bytes() for name, spec in pdf.attachments.items()}
        relations = {str(spec.obj.AFRelationship) for spec in pdf.attachments.values()}
    kinds = (Format.JSON, Format.CSV, Format.SHIPS)
    assert found == {made.name(kind, lang): made.render(kind, lang) for kind in kinds}
    assert relations == {"/Data"}


@LANGUAGES
def test_its_charts_and_headings_are_tagged_and_told_in_words(made: Issue, lang: str) -> None:
    with opened(made, lang) as pdf:
        assert bool(pdf.Root.MarkInfo.Marked)
        tags = [o for o in pdf.objects if isinstance(o, pikepdf.Dictionary) and "/S" in o and "/P" in o]
        kinds = [str(tag.S) for tag in tags]
        told = [str(tag.Alt) for tag in tags if "/Alt" in tag]
    assert kinds.count("/H1") >= 9 and kinds.count("/Table") >= 10 and "/TH" in kinds
    assert len(told) >= 3 and all(len(text) > 40 for text in told)


@pytest.mark.qpdf
def test_it_is_sound_in_the_eyes_of_qpdf(made: Issue, tmp_path: Path) -> None:
    file = tmp_path / "report.pdf"
    file.write_bytes(made.render(Format.PDF, "fr"))
    done = subprocess.run(["qpdf", "--check", file], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "No syntax or stream encoding errors" in done.stdout


@pytest.mark.poppler
@LANGUAGES
def test_the_mark_is_on_every_page_of_a_simulation_and_on_none_of_a_real_report(
    demo: Any, port: Any, paris_ns: Any, lang: str, tmp_path: Path
) -> None:
    def pages(origin: str) -> list[str]:
        file = tmp_path / f"{origin}.pdf"
        file.write_bytes(issue(port.store, port.book, month, "demo-port").render(Format.PDF, lang))
        text = subprocess.run(["pdftotext", "-layout", file, "-"], capture_output=True, check=True).stdout.decode()
        return text.split("\f")[:-1]

    month = "2026-10"
    marked = pages("sim")
    assert len(marked) > 2 and all(page.count("SIMULATION") >= 1 for page in marked)
    assert all(re.search(rf"{i}\s*/\s*{len(marked)}\s*$", page) for i, page in enumerate(marked, 1))
    assert all("demo-port" in page for page in marked)
    port.origin, month = "real", "2026-09"
    port.minutes(paris_ns("2026-09-05T12:00"), [100] * 10)
    assert not any("SIMULATION" in page for page in pages("real"))
