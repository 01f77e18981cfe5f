"""Printed bills: five languages, every glyph there, ids and amounts in their logical order."""

import io
import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from pypdf import PdfReader

from billing.bills.model import Bill, BillId, BillKind, RunId
from billing.bills.rules.content import content_of
from billing.bills.rules.pinned import Versions, canonical_usage, price_pinned
from billing.bills.rules.words import WORDS, day, number
from billing.bills.service import page
from billing.bills.service.page import pdf_of
from billing.rating.rules.compiler import compile_tariff
from billing.tariffs.rules import canonical, digest, read_tariff
from protocols.errors import RefusedError
from tests.integration.bills_kit import TARIFF

NAMES = {
    "fa": "محمدرضا شریعتی‌پور", "zh": "欧阳震华", "uz": "G‘ulomjon O‘tkirbekov",
    "ru": "Щербаков Ёлкин", "en": "Ada O'Neill",
}  # fmt: skip


def sample(**changes: object) -> tuple[Bill, Versions]:
    document = json.dumps(TARIFF).encode()
    tariff = read_tariff(document)
    name = digest(canonical(document))
    versions = {name: (tariff, compile_tariff(tariff, name))}
    usage = canonical_usage({
        "period": {"start": "2026-01-01", "end": "2026-02-01"}, "quality": "estimated",
        "readings": [
            {"at": "2026-01-01", "kwh": {"all": "1000"}},
            {"at": "2026-02-01", "kwh": {"all": "13745.678"}},
        ],
    })  # fmt: skip
    priced = price_pinned(usage, [name], versions)
    bill = Bill(
        id=BillId(48211), entry_id=1, cancelled="", run=RunId(1), agreement="SA-000001",
        account="AC-000001", usage_point="UP-000001", currency="CNY",
        period_start=date(2026, 1, 1), period_end=date(2026, 2, 1),
        kind=BillKind.CORRECTIVE_READING, seq=1, usage=usage, versions=(name,), input_hash=b"",
        kernel_version=2, quality="estimated", method="own_profile", start_wh=1_000_000,
        end_wh=13_745_678, energy_wh=priced.energy_wh, lines=priced.lines,
        total_micros=priced.total_micros, posted_micros=priced.total_micros - 50_000_000,
        corrects=BillId(47001), reason="7", issued_at=datetime(2026, 2, 2, tzinfo=UTC),
        due_on=date(2026, 2, 16), actor="user:li",
    )  # fmt: skip
    return replace(bill, **changes), versions  # type: ignore[arg-type]


@pytest.mark.req("G9")
@pytest.mark.parametrize("language", ["fa", "zh", "uz", "ru", "en"])
@pytest.mark.parametrize("kind", list(BillKind))
def test_a_page_holds_every_glyph_of_every_word_it_says(language: str, kind: BillKind) -> None:
    bill, versions = sample(kind=kind)
    content = content_of(
        bill, versions, language=language, customer=NAMES[language], replaces=bill.number
    )
    octets = pdf_of(content)
    assert octets == pdf_of(content)
    reader = PdfReader(io.BytesIO(octets))
    assert len(reader.pages) == 1
    text = reader.pages[0].extract_text()
    assert not set("\ufffd\u25a1\x00") & set(text)
    assert missing_glyphs(reader) == 0
    assert "AC-000001" in text
    assert "UP-000001" in text


@pytest.mark.parametrize("language", ["fa", "zh", "uz", "ru", "en"])
def test_the_number_of_a_bill_is_drawn_in_one_run_from_left_to_right(language: str) -> None:
    bill, versions = sample()
    content = content_of(bill, versions, language=language, customer=NAMES[language], replaces="")
    runs: list[str] = []
    page = PdfReader(io.BytesIO(pdf_of(content))).pages[0]
    page.extract_text(visitor_text=lambda text, *_: runs.append(text.strip()))
    # where the line runs from right to left, its parts once stood in the order of the line
    assert any(bill.number in run for run in runs), runs


def missing_glyphs(reader: PdfReader) -> int:
    """Return how often a page shows glyph 0, the box that stands for what a font lacks."""
    fonts = {
        name: font.get_object() for name, font in reader.pages[0]["/Resources"]["/Font"].items()
    }
    count, current = 0, ""
    contents = reader.pages[0].get_contents()
    assert contents is not None
    for operands, operator in contents.operations:
        if operator == b"Tf":
            current = operands[0]
        shown = operands if operator == b"Tj" else operands[0] if operator == b"TJ" else ()
        for part in shown:
            if isinstance(part, int | float):
                continue
            assert "Noto" in fonts[current]["/BaseFont"]
            assert fonts[current]["/Encoding"] == "/Identity-H"
            octets = part.original_bytes
            glyphs = [octets[n : n + 2] for n in range(0, len(octets), 2)]
            count += sum(glyph == b"\x00\x00" for glyph in glyphs)
    return count


def test_a_letter_without_a_glyph_is_refused_and_would_be_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bill, versions = sample()
    content = content_of(bill, versions, language="en", customer="ሀ ግዕዝ")
    with pytest.raises(RefusedError, match=r"bills.glyph_missing: no font of ours has U\+1200"):
        pdf_of(content)
    monkeypatch.setattr(page, "_coverage", lambda: frozenset(content))
    assert missing_glyphs(PdfReader(io.BytesIO(pdf_of(content)))) > 0


def test_rows_of_a_bill_add_up_or_it_is_not_written() -> None:
    bill, versions = sample()
    with pytest.raises(ValueError, match="add up to"):
        content_of(
            replace(bill, total_micros=bill.total_micros + 1), versions, language="en", customer="A"
        )


def test_every_language_says_everything() -> None:
    assert all(words.keys() == WORDS["en"].keys() for words in WORDS.values())
    assert all(kind.value in WORDS["en"] for kind in BillKind)


def test_numbers_and_days_are_written_as_each_language_does() -> None:
    assert number("-1234567.50", "en") == "-1,234,567.50"
    assert number("1234.50", "ru") == "1 234,50"
    assert number("1234.50", "fa") == "۱٬۲۳۴٫۵۰"
    assert number("-5", "fa") == "\u2066-۵\u2069"
    assert day(date(2026, 3, 21), "fa") == "۱۴۰۵/۰۱/۰۱"
    assert day(date(2026, 3, 21), "uz") == "21.03.2026"
