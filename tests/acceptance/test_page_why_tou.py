"""A tariff of hours at the pages: reasons, picture, file, interface, ledger, bill and PDF agree."""

import csv
import io
from datetime import UTC, date, datetime, timedelta

import httpx
import pypdf
import pytest
from playwright.sync_api import Browser

from billing.bills.service import asking
from billing.bills.service import run as runs
from billing.customers import service as customers
from billing.customers.model import AccountId, AgreementId, CustomerId, NewCustomer, Registration
from billing.prepaid import service as prepaid
from billing.rating import service as rating
from billing.rating.rules.oracle import oracle_charges
from billing.rating.rules.usage import use_of
from billing.tariffs import service as tariffs
from billing.tariffs.rules import read_tariff
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.ingest import service as ingest
from cloud.ingest.model import Arrival
from cloud.usage import service as usage
from portal.auth import service as access
from portal.auth.model import Role, UserSpec
from portal.i18n import LANGUAGES
from protocols.identity import BatchId, ConcentratorId, MeterId, TransformerId, UsagePointId
from protocols.mqtt import envelope
from protocols.mqtt.topics import up_data
from protocols.mqtt.uplink import DataBatch, batch_to_plain
from protocols.reading import Channel
from protocols.timeline import local_day
from tests.acceptance.browser_kit import OPEN_ALL, check, keep, looking, needs_browser
from tests.integration.bills_kit import ZONE
from tests.integration.portal_kit import API_KEY, PASSWORD, YUAN, Rows, Town
from tests.integration.test_connection_to_account import by_hours, used_wh

pytestmark = needs_browser
POINT, METER, SENDER = UsagePointId("UP-000071"), MeterId("M-000071"), ConcentratorId("C-71")
CODE = "zj-household-tou"
OPENING = 1_000_000
FIRST, NEXT = date(2026, 10, 1), date(2026, 11, 1)
BEGIN = local_day(FIRST, ZONE).start
HOUR = timedelta(hours=1)
OCTOBER = 31 * 24


@pytest.fixture(scope="module")
def hours(town: Town) -> int:
    """Supply a household on the tariff of hours since 1 October; return the hours measured."""
    owner, now = town.owner, town.clock.now()
    count = int((now - BEGIN).total_seconds()) // 3600
    assets.register(
        owner,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-71")),),
            concentrators=(things.Concentrator(id=SENDER),),
            usage_points=(
                things.UsagePoint(
                    id=POINT, kind=things.PointKind.CUSTOMER, transformer=TransformerId("T-71"),
                    zone=ZONE.key,
                ),
            ),
            meters=(
                things.Meter(
                    id=METER, model="sim", protocol="dlms", has_relay=True,
                    can_close_remotely=True,
                ),
            ),
            installations=(
                things.Installation(
                    meter=METER, usage_point=POINT, concentrator=SENDER,
                    installed_at=BEGIN - timedelta(days=2),
                ),
            ),
        ),
        now=BEGIN - timedelta(days=2),
    )  # fmt: skip
    long_ago = datetime(2019, 1, 1, tzinfo=UTC)
    rating.publish(owner, tariffs.shipped(CODE), actor="user:reza", now=long_ago)
    person = NewCustomer(
        customer=CustomerId("CU-000071"), name="陈静", language="zh", usage_point=POINT,
        account=AccountId("AC-000071"), agreement=AgreementId("SA-000071"), tariff_code=CODE,
        currency="CNY", started_at=BEGIN, opening_register_wh=OPENING,
        opening_balance_micros=2_000 * YUAN,
    )  # fmt: skip
    customers.register(owner, Registration(customers=(person,), actor="user:reza"), now=BEGIN)
    chen = UserSpec(
        login="chen", name="陈静", roles=(Role.CUSTOMER,), language="en", password=PASSWORD,
        usage_points=(POINT,),
    )  # fmt: skip
    access.ensure_users(owner, (chen,), now)
    for seq, since in enumerate(range(0, count, 240), start=1):
        _measure(town, since, min(since + 240, count), seq)
    prepaid.sweep(owner, now=now, everything=True)
    return count


def _measure(town: Town, since: int, until: int, seq: int) -> None:
    lists, now = Rows(), town.clock.now()
    wh = OPENING + sum(used_wh(hour) for hour in range(since))
    for hour in range(since, until):
        at = BEGIN + hour * HOUR
        lists.add(Channel.IMPORT_WH, at, 0, wh)
        lists.add(Channel.IMPORT_INTERVAL_WH, at, 3600, used_wh(hour))
        wh += used_wh(hour)
    lists.add(Channel.IMPORT_WH, BEGIN + until * HOUR, 0, wh)
    batch = DataBatch(
        id=BatchId(concentrator=SENDER, boot=1, seq=seq), made_at=now, meters=(METER,),
        columns=lists.columns(now),
    )  # fmt: skip
    outcome = ingest.store_batch(
        town.owner,
        Arrival(
            payload=envelope.encode(batch_to_plain(batch)), content_type=envelope.CBOR_ZSTD,
            topic=up_data(SENDER), hint=batch.id, now=now, wall_now=now,
        ),
        derive=usage.derive,
    )  # fmt: skip
    assert outcome.account.quarantined == 0


def by_api(town: Town, path: str, **asked: str) -> dict[str, object]:
    answer = httpx.get(
        f"{town.url}/api/v1/usage-points/{POINT}/{path}", params=asked, timeout=30,
        headers={"Authorization": f"Bearer {API_KEY}"},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    told: dict[str, object] = answer.json()
    return told


@pytest.mark.req("Q6", "C7", "G1")
def test_every_road_to_the_amount_of_hours_meets(chromium: Browser, town: Town, hours: int) -> None:
    with looking(chromium, town, "chen") as look:
        page = look.page
        for on, first, last in (("2026-10-15", FIRST, date(2026, 10, 31)),
                                ("2026-11-18", NEXT, date(2026, 11, 30))):  # fmt: skip
            page.goto(f"{town.url}/home/why?span=month&on={on}&lang=en")
            page.evaluate(OPEN_ALL)
            figure = page.locator("#why-amount")
            amount = int(figure.get_attribute("data-micros") or "")
            assert amount > 0
            rows = page.locator("#why-lines li[data-micros]").all()
            assert sum(int(one.get_attribute("data-micros") or "") for one in rows) == amount
            roads = {
                one.get_attribute("data-road"): int(one.get_attribute("data-micros") or "")
                for one in page.locator("#why-proof li").all()
            }
            assert roads["lines"] == roads["days"] == amount
            running = roads.get("running", 0)
            assert roads["taken"] + running == amount
            bars = page.locator("figure.bars").first.locator("rect").all()
            assert sum(int(one.get_attribute("data-value") or "") for one in bars) == amount
            told = by_api(town, "why", first=first.isoformat(), last=last.isoformat())
            assert (told["amount_micros"], told["adds_up"]) == (amount, True)
            link = page.locator("#sum-h >> xpath=ancestor::section >> css=a[href*='.csv']")
            with page.expect_download() as waiting:
                link.click()
            file = waiting.value.path().read_text(encoding="utf-8")
            filed = dict.fromkeys(("line", "ledger", "total"), 0)
            for row in csv.DictReader(io.StringIO(file)):
                if row["row"] in filed:
                    filed[row["row"]] += int(row["amount_micros"])
            assert set(filed.values()) == {amount}
            page.goto(f"{town.url}/home/statement?on={on}&lang=en")
            drawn = page.locator("#statement li[data-kind='drawdown']").all()
            taken = -sum(int(one.get_attribute("data-micros") or "") for one in drawn)
            assert taken == roads["taken"]
            assert bool(taken) == (first is FIRST), "the sweep has drawn October, November runs"
        page.goto(f"{town.url}/home?lang=en")
        live = int(page.locator("[data-text='cost']").get_attribute("data-micros") or "")
        assert live == running > 0
        assert not look.faults


@pytest.mark.req("C7", "G5", "G21")
def test_the_bill_of_the_month_is_what_the_days_took_on_page_pdf_and_interface(
    chromium: Browser, town: Town, hours: int
) -> None:
    now = town.clock.now()
    runs.assign_book(town.owner, ["AC-000071"], "hours", actor="user:reza", now=now)
    run = runs.open_run(
        town.owner, start=FIRST, end=NEXT, zone=ZONE, actor="user:reza", now=now, book="hours"
    )
    assert runs.advance(town.owner, run.id, now=now).states == {"billed": 1}
    with town.owner.transaction() as conn:
        bill = asking.bills_of(conn, "AC-000071")[0]
    tariff = read_tariff(tariffs.shipped(CODE))
    total = oracle_charges(tariff, use_of(tariff, by_hours(FIRST, NEXT, OCTOBER))).total
    assert (bill.total_micros, bill.posted_micros) == (total, 0), "all was drawn day by day"
    with looking(chromium, town, "chen") as look:
        page = look.page
        page.goto(f"{town.url}/home/bills/{bill.id}?lang=en")
        assert page.locator("#bill-total").get_attribute("data-micros") == str(total)
        counted = page.locator("#bill-rows li[data-counts='1']").all()
        assert sum(int(one.get_attribute("data-micros") or "") for one in counted) == total
        with page.expect_download() as waiting:
            page.get_by_role("link", name="Bill as PDF").click()
        octets = waiting.value.path().read_bytes()
        page.goto(f"{town.url}/home/why?span=month&on=2026-10-15&lang=en")
        assert page.locator("#why-amount").get_attribute("data-micros") == str(total)
        assert not look.faults
    told = by_api(town, f"bills/{bill.id}")
    assert told["total_micros"] == total
    text = "".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(octets)).pages)
    assert f"{total // 1_000_000}.{total % 1_000_000 // 10_000:02}" in text.replace(",", "")


@pytest.mark.req("Q4", "C9")
def test_the_statement_of_a_month_adds_up_in_every_language_and_as_a_file(
    chromium: Browser, town: Town, hours: int
) -> None:
    with looking(chromium, town, "chen") as look:
        page = look.page
        for language in LANGUAGES:
            page.goto(f"{town.url}/home/statement?on=2026-10-15&lang={language}")
            page.evaluate(OPEN_ALL)
            for width in (360, 1280):
                page.set_viewport_size({"width": width, "height": 800})
                check(look, f"statement {language} {width}")
            keep(page, f"statement-{language}")
        page.goto(f"{town.url}/home/statement?on=2026-10-15&lang=en")
        whole = page.locator("#statement")
        opening = int(whole.get_attribute("data-opening") or "")
        closing = int(whole.get_attribute("data-closing") or "")
        kinds = page.locator("#statement li[data-kind]").all()
        entries = page.locator("#statement-lines li").all()
        for rows in (kinds, entries):
            moved = sum(int(one.get_attribute("data-micros") or "") for one in rows)
            assert opening + moved == closing
        with page.expect_download() as waiting:
            page.get_by_role("link", name="As a file (CSV)").click()
        file = list(csv.DictReader(io.StringIO(waiting.value.path().read_text(encoding="utf-8"))))
        assert file[0]["row"] == "opening"
        assert sum(int(row["amount_micros"]) for row in file[:-1]) == closing
        page.get_by_role("link", name="Month after").click()
        page.wait_for_url("**/home/statement?on=2026-11-01")
        assert page.locator("#statement").get_attribute("data-opening") == str(closing)
        assert not look.faults
    with looking(chromium, town, "c43") as look:
        assert look.page.request.get(f"{town.url}/customers/{POINT}/statement").status == 403
