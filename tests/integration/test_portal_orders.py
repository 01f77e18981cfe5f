"""Orders to one meter from the pages, and tokens that peers bring: who may, and what is shown."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from cloud.control import service as control
from cloud.control.model import KeepPower
from cloud.control.store import keep as keep_rows
from meterloop.embedded.postgres import EmbeddedPostgres
from protocols.mqtt.broker import BrokerAddress
from tests.integration.portal_kit import API_KEY, Town, fresh_town, point, send, sign_in, step_up

PAGE = "/customers/UP-000043"
KEEP = "/supplies/UP-000043/keep-power"
END = "/supplies/UP-000043/end-keep-power"


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


def told(town: Town, keep_power: KeepPower) -> None:
    """Let the meter of number 43 have answered."""
    with town.owner.transaction() as conn:
        keep_rows.set_keep_power(conn, point(43), keep_power=keep_power, now=town.clock.now())


def orders(town: Town, number: int = 43) -> list[str]:
    with town.owner.transaction() as conn:
        return [row.verb for row in control.commands_of(conn, point(number))]


@pytest.mark.req("D8", "R12")
def test_an_operator_keeps_power_and_another_person_ends_it_after_a_step_up(town: Town) -> None:
    with sign_in(town, "reza") as reza, sign_in(town, "lin") as lin:
        assert send(reza, PAGE, KEEP, reason="").status_code == 422
        assert send(reza, PAGE, KEEP, reason="ventilator").status_code == 303
        assert orders(town) == ["keep_power"]
        assert "Keep-power is on its way" in reza.get(PAGE).text
        cut = send(reza, PAGE, "/cuts", usage_point="UP-000043", reason="arrears")
        assert (cut.status_code, "keeps_power" in cut.text) == (409, True)

        told(town, KeepPower.ON)
        assert send(reza, PAGE, END, reason="moved out").status_code == 303
        with town.owner.transaction() as conn:
            wish = control.release_of(conn, point(43))
        assert wish is not None
        assert wish.id in lin.get(PAGE).text
        assert "/approve" not in reza.get(PAGE).text, "who asked is not offered the approval"
        path = f"{END}/{wish.id}/approve"
        assert send(lin, PAGE, path).headers["location"].startswith("/confirm")
        step_up(reza)
        assert send(reza, PAGE, path).status_code == 409, "nor given it"
        step_up(lin)
        assert send(lin, PAGE, path).status_code == 303
        assert orders(town) == ["end_keep_power", "keep_power"]


def test_a_wish_is_withdrawn_and_a_switch_read_from_the_page(town: Town) -> None:
    told(town, KeepPower.UNKNOWN)
    with sign_in(town, "reza") as reza:
        assert "Not known whether" in reza.get(PAGE).text
        assert send(reza, PAGE, END, reason="moved out").status_code == 303
        with town.owner.transaction() as conn:
            wish = control.release_of(conn, point(43))
        assert wish is not None
        assert send(reza, PAGE, f"{END}/{wish.id}/withdraw").status_code == 303
        assert send(reza, PAGE, "/supplies/UP-000043/read-relay").status_code == 303
    assert orders(town) == ["read_relay"]


@pytest.mark.req("R5")
def test_who_lacks_the_right_orders_nothing(town: Town) -> None:
    told(town, KeepPower.ON)
    with sign_in(town, "lin") as lin, sign_in(town, "mona") as mona:
        for client, path in (
            (lin, KEEP), (lin, END), (lin, "/supplies/UP-000043/read-relay"), (mona, KEEP),
            (mona, f"{END}/R-000001/approve"),
        ):  # fmt: skip
            assert send(client, "/cuts", path, reason="because").status_code == 403, path
    assert orders(town) == []


def test_a_meter_that_knows_no_keep_power_is_not_offered_it(town: Town) -> None:
    with sign_in(town, "reza") as reza:
        assert "keep-power" not in reza.get("/customers/UP-000042").text
        refused = send(
            reza, PAGE, "/supplies/UP-000042/keep-power", reason="ventilator"
        )  # fmt: skip
    assert (refused.status_code, "no_keep_power" in refused.text) == (409, True)


def bring(town: Town, key: str, *, where: str = "UP-000043", **changes: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {API_KEY}"} | ({"Idempotency-Key": key} if key else {})
    body = {"kind": "sts", "token_hex": b"12345678901234567890".hex()} | changes
    path = f"{town.url}/api/v1/usage-points/{where}/tokens"
    return httpx.post(path, json=body, headers=headers, timeout=20)


@pytest.mark.req("C13")
def test_a_peer_brings_a_token_once_and_asks_what_became_of_it(town: Town) -> None:
    first = bring(town, "sale-1")
    assert (first.status_code, first.json()["state"]) == (202, "waiting")
    assert "hex" not in first.text
    assert bring(town, "sale-1").json() == first.json()
    path = f"{town.url}/api/v1/usage-points/UP-000043/tokens/{first.json()['token']}"
    asked = httpx.get(path, headers={"Authorization": f"Bearer {API_KEY}"}, timeout=20)
    assert asked.json() == first.json()
    for answer, status, code in (
        (bring(town, "sale-1", token_hex="00"), 422, "key_reused"),
        (bring(town, "sale-2"), 409, "token_repeated"),
        (bring(town, "sale-3", kind="dlt645"), 422, "no_tokens"),
        (bring(town, "sale-4", kind="coins"), 422, "token_shape"),
        (bring(town, "sale-5", where="UP-000042"), 422, "no_tokens"),
        (bring(town, "sale-6", where="UP-999999"), 404, "not_found"),
        (bring(town, ""), 428, "key_missing"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert bring(town, "sale-7", token_hex="0").status_code == 422
    with sign_in(town, "reza") as reza:
        assert "sale-1" in reza.get(PAGE).text
