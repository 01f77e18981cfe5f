"""What people do on the pages: approve, pay, report; each change is one service's."""

import re
from collections.abc import Iterator

import pytest

from billing.prepaid import service as prepaid
from cloud.control import service as control
from cloud.control.model import RequestState
from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress
from tests.integration.portal_kit import (
    PASSWORD,
    YUAN,
    Town,
    door_of,
    fresh_town,
    point,
    send,
    sign_in,
    step_up,
)


@pytest.fixture
def town(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    mqtt_broker: BrokerAddress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("portal")
    with fresh_town(postgres, migrated_template, mqtt_broker, folder) as served:
        yield served


def request_of(town: Town, number: int) -> tuple[str, RequestState]:
    with town.owner.transaction() as conn:
        found = control.requests_of(conn, point(number))[0]
    return found.id, found.state


def available(town: Town, number: int) -> int:
    with town.owner.transaction() as conn:
        return prepaid.balance_of(conn, point(number), town.clock.now()).available_micros


@pytest.mark.req("D2", "E7", "R12")
def test_two_other_people_approve_each_after_a_step_up(town: Town) -> None:
    with sign_in(town, "reza") as reza, sign_in(town, "lin") as lin, sign_in(town, "nina") as nina:
        asked = send(reza, "/customers/UP-000061", "/cuts", usage_point="UP-000061",
                     reason="asked by the court")  # fmt: skip
        assert asked.status_code == 303
        id_, state = request_of(town, 61)
        assert state is RequestState.REQUESTED
        path = f"/cuts/{id_}/approve"

        needs = send(lin, "/cuts", path)
        assert (needs.status_code, needs.headers["location"]) == (303, "/confirm?next=/")
        assert request_of(town, 61)[1] is RequestState.REQUESTED, "no approval without a step-up"
        wrong = send(lin, "/confirm", "/confirm", password="wrong", next="/cuts")
        assert wrong.status_code == 422
        assert send(lin, "/cuts", path).headers["location"].startswith("/confirm")

        step_up(reza)
        own = send(reza, "/cuts", path)
        assert own.status_code == 409
        assert "same_person" in own.text
        assert "same person may not approve" in reza.get("/cuts").text, "the lock says why"

        step_up(lin)
        assert send(lin, "/cuts", path).status_code == 303
        assert request_of(town, 61)[1] is RequestState.APPROVED_1
        assert send(lin, "/cuts", path).status_code == 409, "nobody approves twice"

        step_up(nina)
        assert send(nina, "/cuts", path).status_code == 303
        assert request_of(town, 61)[1] is RequestState.APPROVED_2
        board = lin.get("/cuts").text
        assert board.index("Борис Соколов") > 0


@pytest.mark.req("D2", "R5")
def test_who_lacks_the_right_can_neither_ask_nor_approve(town: Town) -> None:
    id_, _ = request_of(town, 60)
    with sign_in(town, "mona") as mona, sign_in(town, "lin") as lin:
        step_up(mona)
        assert send(mona, "/cuts", f"/cuts/{id_}/approve").status_code == 403
        asked = send(lin, "/cuts", "/cuts", usage_point="UP-000061", reason="because")
        assert asked.status_code == 403
    assert request_of(town, 60)[1] is RequestState.REQUESTED


@pytest.mark.req("D8")
def test_the_cut_of_a_protected_customer_is_refused_with_the_reason(town: Town) -> None:
    with sign_in(town, "reza") as client:
        refused = send(client, "/customers/UP-000088", "/cuts", usage_point="UP-000088",
                       reason="large debt")  # fmt: skip
        assert refused.status_code == 409
        assert "protected_customer" in refused.text
        assert "hospital" in client.get("/customers/UP-000088").text


@pytest.mark.req("Q6", "H1", "H2")
def test_a_payment_on_the_page_raises_the_balance_once_and_stops_the_cut(town: Town) -> None:
    before = available(town, 60)
    assert before < 0
    with sign_in(town, "c60") as client:
        page = client.get("/home/pay").text
        fields = {
            "form_token": door_of(page, "form_token"), "key": door_of(page, "key"),
            "amount": "۵۰٫۲۵", "offer": "20",
        }  # fmt: skip
        answers = [client.post("/home/pay", data=fields) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [303] * 3
        home = client.get("/home").text
        assert len(set(re.findall(r'class="code">(R[^<]+)<', home))) == 1
    assert available(town, 60) == before + 50_250_000
    assert request_of(town, 60)[1] is RequestState.CANCELLED


@pytest.mark.req("H1")
@pytest.mark.parametrize("amount", ["0", "-5", "abc", "1.2345678", ""])
def test_a_bad_amount_comes_back_with_a_reason_and_moves_nothing(town: Town, amount: str) -> None:
    before = available(town, 43)
    with sign_in(town, "c43") as client:
        page = client.get("/home/pay").text
        answer = client.post("/home/pay", data={
            "form_token": door_of(page, "form_token"), "key": door_of(page, "key"),
            "amount": amount,
        })  # fmt: skip
        assert answer.status_code == 422
        assert 'role="alert"' in answer.text
    assert available(town, 43) == before


@pytest.mark.req("H2")
def test_a_teller_takes_a_payment(town: Town) -> None:
    before = available(town, 42)
    with sign_in(town, "tina") as client:
        path = "/customers/UP-000042"
        key = door_of(client.get(path).text, "key")
        answer = send(client, path, path + "/payment", amount="30", key=key)
        assert answer.status_code == 303
        wrong = send(client, path, path + "/payment", amount="0", key="another-key")
        assert wrong.status_code == 422
    assert available(town, 42) == before + 30 * YUAN


@pytest.mark.req("C7", "Q10")
def test_the_lines_of_the_bill_add_up_exactly_on_the_page(town: Town) -> None:
    with sign_in(town, "maryam") as client:
        page = client.get("/home").text
    lines = [int(found) for found in re.findall(r'<li data-micros="(-?\d+)"', page)]
    total = re.search(r'<li class="sum" data-micros="(-?\d+)"', page)
    assert total is not None
    assert len(lines) >= 2, "the customer has reached the second step"
    assert sum(lines) == int(total.group(1)) > 0


@pytest.mark.req("Q10")
def test_usage_is_the_same_on_page_and_in_files(town: Town) -> None:
    with sign_in(town, "c43") as client:
        rows = client.get("/home/usage.csv").text.splitlines()[1:]
        page = client.get("/home/usage").text
        intervals = client.get("/home/intervals.csv").text.splitlines()[1:]
    wh = [int(row.split(",")[1]) for row in rows]
    assert sorted(wh) == sorted(int(one) for one in re.findall(r'<tr data-wh="(\d+)"', page))
    assert sum(int(row.split(",")[2]) for row in intervals) == sum(wh)


@pytest.mark.req("E5", "D20", "E7")
def test_a_crew_reports_on_the_phone_and_the_office_closes_the_order(town: Town) -> None:
    with sign_in(town, "aziz") as aziz, sign_in(town, "reza") as reza:
        path = re.search(r'href="(/crew/[^"]+)"', aziz.get("/crew").text)
        assert path is not None
        page = aziz.get(path.group(1)).text
        key, token = door_of(page, "key"), door_of(page, "form_token")
        form = {"form_token": token, "key": key, "outcome": "5", "register_kwh": "1093.5"}
        unsafe = aziz.post(path.group(1), data=form)
        assert unsafe.status_code == 422, "voltage must be tested before a cut is reported"
        assert "kuchlanish" in unsafe.text
        done = aziz.post(path.group(1), data={**form, "no_voltage": "yes"})
        assert done.status_code == 303, done.text
        again = aziz.post(path.group(1), data={**form, "no_voltage": "yes"})
        assert again.status_code == 303, "a phone repeats what it is not sure of"
        board = reza.get("/work").text
        assert "connection cut" in board
        order = path.group(1).removeprefix("/crew/")
        assert send(reza, "/work", f"/work/{order}/verify").status_code == 303
        assert send(aziz, "/crew", f"/work/{order}/verify").status_code == 403
    with town.owner.transaction() as conn:
        assert control.supply_of(conn, point(43)).relay_state == "disconnected"
        reports = conn.execute("SELECT outcome, register_wh FROM work.report").fetchall()
    assert reports == [(5, 1_093_500)]


@pytest.mark.req("E7")
def test_an_order_of_another_crew_is_not_shown(town: Town) -> None:
    with sign_in(town, "aziz") as client:
        assert client.get("/crew/W-999999").status_code == 404


def test_the_halt_switch_needs_no_step_up_but_resuming_does(town: Town) -> None:
    with sign_in(town, "mona") as client:
        assert send(client, "/cuts", "/cuts/halt").status_code == 303
        assert _halted(town)
        assert send(client, "/cuts", "/cuts/resume").headers["location"].startswith("/confirm")
        assert _halted(town)
        step_up(client)
        assert send(client, "/cuts", "/cuts/resume").status_code == 303
        assert not _halted(town)


@pytest.mark.req("Q9")
def test_search_finds_by_name_account_and_foreign_digits(town: Town) -> None:
    with sign_in(town, "reza") as client:
        for query in ("Aziza", "AC-000060", "UP-۰۰۰۰۶۰"):
            found = client.get("/customers", params={"q": query}).text
            assert "/customers/UP-000060" in found, query
        assert "/customers/UP-" not in client.get("/customers", params={"q": "zzz"}).text
        assert client.get("/customers/UP-999999").status_code == 404


def test_pages_of_the_office_are_served_as_parts_for_refreshing(town: Town) -> None:
    with sign_in(town, "reza") as client:
        part = client.get("/cuts", headers={"HX-Request": "true"}).text
        assert "<html" not in part
        assert "Aziza Karimova" in part
    assert PASSWORD not in part


def _halted(town: Town) -> bool:
    with town.owner.transaction() as conn:
        return control.halt_state(conn).halted
