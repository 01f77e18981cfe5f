"""A cycle in a real browser: the office opens it, a reader walks it by phone, two agree."""

from datetime import timedelta

import pytest
from playwright.sync_api import Browser

from cloud.cycles.model import Reader, ReaderId, Route, RouteId, TaskState, Timetable
from cloud.cycles.service import delivering, entering, planning
from cloud.org import service as org
from cloud.org.model import Company, Unit, UnitKind
from cloud.usage import service as usage
from portal.i18n import LANGUAGES
from tests.acceptance.browser_kit import check, keep, looking, needs_browser
from tests.integration.portal_kit import Town, point

pytestmark = needs_browser
MARYAM, WANG, BORIS = point(42), point(43), point(61)


@pytest.fixture(scope="module")
def cycle(town: Town) -> int:
    """A route of three homes, planned for this month; nobody has opened it."""
    now = town.clock.now()
    org.register(
        town.owner, companies=[Company(id="C", name="Grid")],
        units=[Unit(id="S-1", company="C", parent=None, kind=UnitKind.SECTION, name="North",
                    zone="Asia/Shanghai")],
    )  # fmt: skip
    route = Route(
        id=RouteId("R-1"), unit="S-1", name="North bank", zone="Asia/Shanghai",
        timetable=Timetable(opens_day=1, reading_days=20, sales_after=2, collection_after=9),
    )  # fmt: skip
    planning.set_route(town.owner, route, [MARYAM, WANG, BORIS], actor="user:reza", now=now)
    planning.set_reader(
        town.owner, Reader(id=ReaderId("aziz"), name="Aziz Nazarov", login="user:aziz",
                           unit="S-1", daily=50),
    )  # fmt: skip
    planning.plan_year(town.owner, now.year, actor="user:reza", now=now)
    with town.owner.transaction() as conn:
        period = f"{now:%Y-%m}"
        [mine] = [one for one in planning.cycles(conn) if one.dates.period == period]
    return mine.id


@pytest.mark.req("B2", "B3", "B4", "B8", "B9", "B11", "B13", "B18")
def test_a_cycle_is_opened_walked_doubted_agreed_and_closed(
    chromium: Browser, town: Town, cycle: int
) -> None:
    with looking(chromium, town, "reza") as look:
        look.page.goto(f"{town.url}/cycles/{cycle}")
        check(look, "a planned cycle")
        look.page.click("button[value=open]")
        look.page.click("button[value=share]")
        assert "Aziz Nazarov" in look.page.inner_text("#work")
        keep(look.page, "cycle-open")
        assert not look.faults

    with looking(chromium, town, "aziz", width=360) as look:
        page = look.page
        page.goto(town.url + "/reading")
        check(look, "the walk")
        keep(page, "reading-walk")
        assert page.locator("li.case").count() == 3
        for home, typed in ((MARYAM, "9000"), (WANG, "")):
            page.goto(town.url + "/reading")
            page.click(f"li[data-home={home}] a.button")
            check(look, "a meter")
            if typed:
                page.fill("#register", typed)
                page.click("main form button.main")
                assert page.locator("#look-again").is_visible(), "asked to look once more"
                check(look, "look again")
                keep(page, "reading-look-again")
            else:
                page.select_option("#miss", "vacant")
                page.check("input[value=seal_broken]")
            page.click("main form button.main")
            page.wait_for_url(town.url + "/reading")
        with town.owner.transaction() as conn:
            [boris] = [task for task in planning.tasks(conn, cycle) if task.usage_point == BORIS]
        assert boris.last_wh is not None
        page.goto(f"{town.url}/reading/{boris.id}")
        page.fill("#register", f"{(boris.last_wh + 9000) / 1000}")
        page.click("main form button.main")
        if page.locator("#look-again").count():
            page.click("main form button.main")
        page.wait_for_url(town.url + "/reading")
        other = page.goto(f"{town.url}/reading/{boris.id + 1000}")
        assert other is not None
        assert other.status == 404
        assert not [fault for fault in look.faults if "404" not in fault]

    with looking(chromium, town, "nina") as look:
        look.page.goto(f"{town.url}/cycles/{cycle}")
        check(look, "doubts")
        keep(look.page, "cycle-doubts")
        card = look.page.locator(f"li.case[data-home={MARYAM}]")
        card.locator("input[name=reason]").fill("wrong digits")
        card.locator("button[value=false]").click()
        assert look.page.locator(f"li.case[data-home={MARYAM}]").count() == 0
        look.page.click("button[value=machine]")
    now = town.clock.now()
    with town.owner.transaction() as conn:
        states = {task.usage_point: task.state for task in planning.tasks(conn, cycle)}
        doubted = planning.tasks(conn, cycle, states=(TaskState.IN_REVIEW,))
    assert states[WANG] in {TaskState.UNREAD, TaskState.READ}
    for task in doubted:
        entering.review(
            town.owner, task.id, accept=True, reason="so it is", actor="user:nina", now=now
        )
    delivering.deliver(town.owner, town.clock)
    with looking(chromium, town, "reza") as look:
        look.page.goto(f"{town.url}/cycles/{cycle}")
        look.page.click("button[value=close]")
        assert look.page.locator("button[value=close]").count() == 0
        check(look, "a closed cycle")
        keep(look.page, "cycle-closed")
    with town.owner.transaction() as conn:
        stored = usage.register_at(conn, BORIS, town.clock.now() + timedelta(minutes=1))
    assert stored is not None
    assert stored.cumulative_wh >= boris.last_wh


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_of_cycles_in_every_language(
    chromium: Browser, town: Town, cycle: int, language: str
) -> None:
    for login, path in (("reza", "/cycles"), ("reza", f"/cycles/{cycle}"), ("aziz", "/reading")):
        with looking(chromium, town, login, width=360) as look:
            look.page.goto(f"{town.url}{path}?lang={language}")
            check(look, f"{path} {language}")
            keep(look.page, f"cycles-{language}{path}")
            assert not look.faults


def test_a_customer_and_a_teller_see_no_cycles(chromium: Browser, town: Town, cycle: int) -> None:
    for login in ("maryam", "tina"):
        with looking(chromium, town, login) as look:
            for path in ("/cycles", f"/cycles/{cycle}", "/reading"):
                answer = look.page.goto(town.url + path)
                assert answer is not None
                assert answer.status == 403, (login, path)
