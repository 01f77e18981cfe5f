"""The page of reasons in a real browser: every road to one amount meets, to the last unit."""

import csv
import io
from dataclasses import dataclass
from datetime import date
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.sync_api import Browser, Page

from billing.prepaid import service as prepaid
from billing.rating.rules.oracle import oracle_between
from billing.tariffs import service as tariffs
from billing.tariffs.rules import read_tariff
from portal.fmt import Reader, plain_digits
from portal.i18n import LANGUAGES
from protocols.timeline import local_date
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.integration.portal_kit import API_KEY, Town, point

pytestmark = needs_browser
WHO = [("maryam", 42), ("c43", 43), ("c60", 60), ("c61", 61)]
ZONE = ZoneInfo("Asia/Shanghai")
OPENING_WH = 2_395_000
"""What the town's customers had used of the ladder year before; the second step is at 2400 kWh."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """One amount with its energy, as somebody says it."""

    micros: int
    wh: int


def micros(page: Page, selector: str) -> list[int]:
    return [int(one.get_attribute("data-micros") or "") for one in page.locator(selector).all()]


def shown_micros(text: str, fmt: Reader) -> int:
    """Return a printed amount of yuan as the integer it stands for, read as a person reads it."""
    group = {"en": ",", "zh": ",", "fa": "٬", "uz": "\u00a0", "ru": "\u00a0"}[fmt.language]
    plain = plain_digits(text.replace(group, "")).replace(",", ".")
    number = "".join(one for one in plain if one in "0123456789.")
    whole, _, part = number.partition(".")
    return int(whole + part.ljust(6, "0"))


def by_oracle(wh: int) -> int:
    """Return the price of use since the opening, in fractions, by code the kernel never sees."""
    tariff = read_tariff(tariffs.shipped("cq-household-lv"))
    return oracle_between(tariff, OPENING_WH, OPENING_WH + wh)


def by_file(page: Page) -> tuple[Said, list[dict[str, str]]]:
    link = page.locator("#sum-h >> xpath=ancestor::section >> css=a[href*='.csv']")
    with page.expect_download() as waiting:
        link.click()
    rows = list(csv.DictReader(io.StringIO(waiting.value.path().read_text(encoding="utf-8"))))
    total = next(row for row in rows if row["row"] == "total")
    return Said(micros=int(total["amount_micros"]), wh=int(total["wh"])), rows


def by_api(town: Town, number: int, first: date, last: date) -> dict[str, object]:
    answer = httpx.get(
        f"{town.url}/api/v1/usage-points/{point(number)}/why",
        params={"first": first.isoformat(), "last": last.isoformat()},
        headers={"Authorization": f"Bearer {API_KEY}"}, timeout=20,
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


@pytest.mark.req("Q6", "C7", "G1")
@pytest.mark.parametrize(("login", "number"), WHO, ids=[login for login, _ in WHO])
def test_lines_picture_file_interface_ledger_and_live_figure_say_one_amount(
    chromium: Browser, town: Town, login: str, number: int
) -> None:
    with looking(chromium, town, login) as look:
        page = look.page
        page.goto(f"{town.url}/home/why?span=year&lang=en")
        page.evaluate(OPEN_ALL)
        figure = page.locator("#why-amount")
        whole = Said(
            micros=int(figure.get_attribute("data-micros") or ""),
            wh=int(figure.get_attribute("data-wh") or ""),
        )
        assert whole.micros > 0
        assert whole.micros == by_oracle(whole.wh)
        assert sum(micros(page, "#why-lines li[data-micros]")) == whole.micros
        assert len(micros(page, "#why-lines li[data-micros]")) == 2, "two steps were used"
        roads = {
            one.get_attribute("data-road"): int(one.get_attribute("data-micros") or "")
            for one in page.locator("#why-proof li").all()
        }
        assert roads["lines"] == roads["days"] == roads["taken"] + roads["running"] == whole.micros
        bars = page.locator("figure.bars").first.locator("rect")
        assert sum(int(one.get_attribute("data-value") or "") for one in bars.all()) == whole.micros
        hours = page.locator("#why-hours tbody tr")
        assert sum(int(one.get_attribute("data-wh") or "") for one in hours.all()) == whole.wh

        filed, rows = by_file(page)
        assert filed == whole
        for kind in ("line", "ledger"):
            said = sum(int(row["amount_micros"]) for row in rows if row["row"] == kind)
            assert said == whole.micros, kind
        assert sum(int(row["wh"]) for row in rows if row["row"] in {"day", "open_day"}) == whole.wh

        today = local_date(town.clock.now(), ZONE)
        told = by_api(town, number, date(today.year, 1, 1), date(today.year, 12, 31))
        assert (told["amount_micros"], told["wh"]) == (whole.micros, whole.wh)
        assert told["adds_up"] is True

        page.goto(f"{town.url}/home?lang=en")
        live = int(page.locator("[data-text='cost']").get_attribute("data-micros") or "")
        assert live == roads["running"]
        page.goto(f"{town.url}/home/why?span=day&lang=en")
        assert micros(page, "#why-amount") == [live]
        page.goto(f"{town.url}/home/usage?lang=en")
        assert sum(micros(page, "#day-rows td[data-micros]")) == whole.micros
        sent = {
            one.usage_point: one
            for one in prepaid.sweep(town.owner, now=town.clock.now(), everything=True).changed
        }
        assert sent[point(number)].cost_today_micros == live
        assert not look.faults


@pytest.mark.req("Q4", "Q6")
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_printed_adds_up_in_every_language(
    chromium: Browser, town: Town, language: str
) -> None:
    fmt = Reader(language=language)
    with looking(chromium, town, "c43") as look:
        page = look.page
        for span in ("day", "month", "year"):
            answer = page.goto(f"{town.url}/home/why?span={span}&lang={language}")
            assert answer is not None
            assert answer.status == 200
            printed = shown_micros(page.locator("#why-amount").inner_text(), fmt)
            assert [printed] == micros(page, "#why-amount")
            lines = page.locator("#why-lines li[data-micros] .amount").all_inner_texts()
            assert sum(shown_micros(line, fmt) for line in lines) == printed
            page.evaluate("document.fonts.ready.then(() => 1)")
            page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                keep(page, f"why-{span}-{language}-{width}")
                check(look, f"why {span} {language} {width}")
        assert not look.faults
        assert look.hosts == {urlsplit(town.url).netloc}


@pytest.mark.req("Q4")
def test_bars_are_walked_with_the_arrow_keys(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "c43") as look:
        page = look.page
        page.goto(f"{town.url}/home/why?span=month&lang=en")
        picture = page.locator("figure.bars").first
        picture.locator("svg").focus()
        note = picture.locator(".chart-note")
        heard = []
        for _ in range(2):
            page.keyboard.press("ArrowLeft")
            heard.append(note.inner_text())
        assert heard[0] != heard[1]
        assert all("kWh" in said for said in heard)
        assert picture.locator("rect.marked").count() == 1


@pytest.mark.req("Q6", "Q9")
def test_the_office_sees_what_the_customer_sees_and_others_do_not(
    chromium: Browser, town: Town
) -> None:
    with looking(chromium, town, "c43") as customer, looking(chromium, town, "tina") as office:
        customer.page.goto(f"{town.url}/home/why?span=month&lang=en")
        office.page.goto(f"{town.url}/customers/{point(43)}/why?span=month&lang=en")
        assert micros(customer.page, "#why-lines li[data-micros]") == micros(
            office.page, "#why-lines li[data-micros]"
        )
        refused = customer.page.goto(f"{town.url}/customers/{point(42)}/why")
        assert refused is not None
        assert refused.status == 403


@pytest.mark.req("Q6")
def test_no_reading_and_a_day_that_is_none_are_said_plainly(chromium: Browser, town: Town) -> None:
    with looking(chromium, town, "c99") as look:
        page = look.page
        answer = page.goto(f"{town.url}/home/why?lang=en")
        assert answer is not None
        assert answer.status == 200
        assert "Nothing has been charged yet" in page.locator("#why").inner_text()
        refused = page.goto(f"{town.url}/home/why?span=decade")
        assert refused is not None
        assert refused.status == 422
