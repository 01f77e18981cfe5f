"""Doors: sign-in, throttle, forged forms, roles, other people's pages, step-up."""

import asyncio
from collections.abc import Iterator

import pytest

from meterloop.embedded.postgres import EmbeddedPostgres
from portal.config import PortalConfig
from portal.run import run
from protocols.mqtt.broker import BrokerAddress
from tests.integration.portal_kit import (
    PASSWORD,
    Town,
    browser,
    door_of,
    fresh_town,
    send,
    sign_in,
)

COOKIE = "meterloop_session"
STAFF_PAGES = ("/inbox", "/customers", "/cuts", "/work", "/messages", "/quarantine")


@pytest.fixture(scope="module")
def town(
    postgres: EmbeddedPostgres,
    migrated_template: str,
    mqtt_broker: BrokerAddress,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("portal")
    with fresh_town(postgres, migrated_template, mqtt_broker, folder) as served:
        yield served


@pytest.mark.req("R6", "Q6")
def test_the_password_opens_and_signing_out_closes(town: Town) -> None:
    with sign_in(town, "maryam") as client:
        assert client.get("/").headers["location"] == "/home"
        home = client.get("/home")
        assert home.status_code == 200
        assert "مریم رستمی" in home.text
        secret = client.cookies[COOKIE]
        assert send(client, "/home", "/sign-out").status_code == 303
        client.cookies.set(COOKIE, secret)
        assert client.get("/home").status_code == 303, "an ended session must not come back"


@pytest.mark.req("R6")
def test_neither_a_wrong_password_nor_a_guessed_cookie_opens(town: Town) -> None:
    with browser(town) as client:
        door = door_of(client.get("/sign-in").text)
        for login in ("maryam", "nobody"):
            answer = client.post(
                "/sign-in", data={"login": login, "password": "wrong", "door": door}
            )
            assert answer.status_code == 422
            assert COOKIE not in client.cookies
        client.cookies.set(COOKIE, "A" * 43)
        assert client.get("/home").headers["location"].startswith("/sign-in")


@pytest.mark.req("R6")
def test_the_sixth_try_in_a_quarter_of_an_hour_is_not_even_checked(town: Town) -> None:
    with browser(town) as client:
        door = door_of(client.get("/sign-in").text)
        form = {"login": "c61", "password": "wrong", "door": door}
        assert [client.post("/sign-in", data=form).status_code for _ in range(5)] == [422] * 5
        right = client.post("/sign-in", data={**form, "password": PASSWORD})
        assert right.status_code == 429
        assert COOKIE not in client.cookies
    rows = _rows(town, "SELECT count(*) FROM access.attempt WHERE login = 'c61' AND NOT success")
    assert rows == [(5,)]


@pytest.mark.req("R6")
def test_the_database_keeps_no_secret(town: Town) -> None:
    with sign_in(town, "maryam") as client:
        secret = client.cookies[COOKIE]
    found = _rows(town, "SELECT password_hash FROM access.person")
    assert all(hashed.startswith("$argon2id$v=19$m=19456,t=2,p=1$") for (hashed,) in found)
    stored = _rows(town, "SELECT token_hash FROM access.session")
    assert all(bytes(token) != secret.encode() and len(token) == 32 for (token,) in stored)


@pytest.mark.req("R6")
def test_a_form_from_elsewhere_or_without_its_token_is_refused(town: Town) -> None:
    with sign_in(town, "maryam") as client:
        token = door_of(client.get("/home/pay").text, "form_token")
        fields = {"key": "k" * 20, "amount": "5", "form_token": token}
        forged = client.post("/home/pay", data={**fields, "form_token": "0" * 40})
        foreign = client.post("/home/pay", data=fields, headers={"Origin": "https://evil.example"})
        framed = client.post("/home/pay", data=fields, headers={"Sec-Fetch-Site": "cross-site"})
        assert {forged.status_code, foreign.status_code, framed.status_code} == {403}
    with browser(town) as client:
        client.get("/sign-in")
        form = {"login": "maryam", "password": PASSWORD, "door": "guess"}
        assert client.post("/sign-in", data=form).status_code == 403
    assert _rows(town, "SELECT count(*) FROM payments.payment WHERE account = 'AC-000042'") == [
        (0,)
    ]


@pytest.mark.req("R5", "Q6")
def test_a_customer_sees_only_the_own_pages(town: Town) -> None:
    with sign_in(town, "maryam") as client:
        for path in (*STAFF_PAGES, "/customers/UP-000042", "/customers/UP-000043", "/crew"):
            answer = client.get(path)
            assert answer.status_code == 403, path
            assert "Aziza" not in answer.text
        assert client.get("/live?point=UP-000043").status_code == 403
        assert send(client, "/home", "/cuts/halt").status_code == 403


@pytest.mark.req("R5", "R12")
@pytest.mark.parametrize(
    ("login", "may", "may_not"),
    [
        ("reza", STAFF_PAGES, ("/home", "/crew")),
        ("lin", STAFF_PAGES, ("/home", "/crew")),
        ("mona", STAFF_PAGES, ("/home", "/crew")),
        ("tina", ("/customers", "/customers/UP-000042"), ("/cuts", "/inbox", "/work", "/home")),
        ("aziz", ("/crew",), ("/customers", "/cuts", "/customers/UP-000042", "/home")),
    ],
)
def test_each_role_has_its_pages_and_no_other(
    town: Town, login: str, may: tuple[str, ...], may_not: tuple[str, ...]
) -> None:
    with sign_in(town, login) as client:
        assert {client.get(path).status_code for path in may} == {200}
        assert {client.get(path).status_code for path in may_not} == {403}


@pytest.mark.req("R5")
def test_without_a_session_every_page_leads_to_the_sign_in(town: Town) -> None:
    with browser(town) as client:
        for path in (*STAFF_PAGES, "/home", "/home/usage", "/home/pay", "/crew", "/confirm"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (
                303, "/sign-in?next=" + path,
            )  # fmt: skip
        assert client.get("/live?point=UP-000042").status_code == 403


def test_next_cannot_lead_to_another_site(town: Town) -> None:
    with browser(town) as client:
        door = door_of(client.get("/sign-in?next=//evil.example").text)
        for path in ("//evil.example", "https://evil.example", "/\\evil.example"):
            answer = client.post(
                "/sign-in",
                data={"login": "nina", "password": PASSWORD, "door": door, "next": path},
            )
            assert answer.headers["location"] == "/"
            door = door_of(client.get("/sign-in").text)


def test_one_click_sign_in_is_there_in_the_demo(town: Town) -> None:
    with browser(town) as client:
        page = client.get("/tour")
        assert "DEMO" in page.text
        answer = client.post("/tour", data={"login": "reza", "door": door_of(page.text)})
        assert answer.status_code == 303
        assert client.get("/").headers["location"] == "/inbox"
        unknown = client.post("/tour", data={"login": "root", "door": "x"})
        assert unknown.status_code == 403, "the tour's form has a token too"


def test_answers_carry_the_policy_and_are_not_cached(town: Town) -> None:
    with browser(town) as client:
        for path in ("/sign-in", "/nowhere", "/healthz"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "default-src 'none'" in policy
            assert headers["cache-control"] == "no-store"
            assert headers["x-content-type-options"] == "nosniff"


def test_the_process_says_that_it_lives_and_is_ready(town: Town) -> None:
    with browser(town) as client:
        assert client.get("/healthz").json() == {"status": "alive"}
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["broker"] is True


@pytest.mark.req("Q4")
def test_the_language_is_kept_with_the_person(town: Town) -> None:
    with sign_in(town, "nina") as client:
        assert 'lang="ru"' in client.get("/inbox").text
        assert send(client, "/inbox", "/language", language="fa", next="/cuts").status_code == 303
        assert '<html lang="fa" dir="rtl">' in client.get("/cuts").text
        assert send(client, "/inbox", "/language", language="xx").status_code == 422
    with sign_in(town, "nina") as client:
        assert 'lang="fa"' in client.get("/inbox").text


def _rows(town: Town, query: str) -> list[tuple[object, ...]]:
    with town.owner.transaction() as conn:
        return conn.execute(query).fetchall()  # type: ignore[arg-type]


@pytest.mark.req("Q6")
def test_a_newcomer_without_a_single_reading_has_pages_too(town: Town) -> None:
    with sign_in(town, "c99") as client:
        for path in ("/home", "/home?part=activity", "/home/usage", "/home/pay", "/home/usage.csv"):
            assert client.get(path).status_code == 200, path
        assert 'data-state="unknown"' in client.get("/home").text
    with sign_in(town, "reza") as client:
        assert client.get("/customers/UP-000099").status_code == 200


def test_a_taken_port_is_refused_with_the_setting_to_change(town: Town) -> None:
    config = PortalConfig(dsn="", broker=town.broker, port=int(town.url.rsplit(":", maxsplit=1)[1]))
    with pytest.raises(OSError, match="set the portal's port"):
        asyncio.run(run(config, stop=asyncio.Event(), ready=lambda: None, status={}))
