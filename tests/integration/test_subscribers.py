"""New subscribers, ordinary and by demand, one by one and from a file, and their first bills."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from typer.testing import CliRunner

from billing.bills.service import run as runs
from billing.customers.model import (
    AccountId,
    AgreementId,
    CustomerId,
    CustomerKind,
    NewCustomer,
)
from billing.rating import service as rating
from billing.rating.rules.subscribing import Subscription, SupplyKind
from billing.rating.service import subscribing
from billing.tariffs import service as tariffs
from cloud.assets import model as things
from cloud.assets import service as assets
from cloud.store.db import Database
from meterloop.cli import app
from protocols.errors import RefusedError
from protocols.identity import TransformerId, UsagePointId
from tests.integration.billing_kit import rows
from tests.integration.people_kit import all_signed_in
from tests.integration.test_billing_bills_cli import installation
from tests.integration.usage_kit import put_registers

TEHRAN = ZoneInfo("Asia/Tehran")
JAN, FEB = date(2026, 1, 1), date(2026, 2, 1)
LONG_AGO = datetime(2019, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 5, 1, 4, tzinfo=UTC)


def grid(db: Database, *points: tuple[int, str]) -> None:
    """Install usage points, each in a zone, and put both tariffs in force."""
    assets.register(
        db,
        things.Registration(
            transformers=(things.Transformer(id=TransformerId("T-01")),),
            usage_points=tuple(
                things.UsagePoint(
                    id=UsagePointId(f"UP-{number:06}"), kind=things.PointKind.CUSTOMER,
                    transformer=TransformerId("T-01"), zone=zone,
                )
                for number, zone in points
            ),
        ),
        now=NOW,
    )  # fmt: skip
    for code in ("ir-industry-contract", "cq-household-lv"):
        rating.publish(db, tariffs.shipped(code), actor="user:reza", now=LONG_AGO)


def factory(number: int, **changes: Any) -> NewCustomer:
    base = NewCustomer(
        customer=CustomerId(f"CU-{number:06}"), name="Foolad Co", language="fa",
        kind=CustomerKind.LEGAL, account=AccountId(f"AC-{number:06}"),
        agreement=AgreementId(f"SA-{number:06}"), usage_point=UsagePointId(f"UP-{number:06}"),
        tariff_code="ir-industry-contract", currency="IRR",
        started_at=datetime.combine(JAN, time(0), TEHRAN), opening_register_wh=0,
        attributes={"contract_w": "500000", "balance": "none"},
    )  # fmt: skip
    return replace(base, **changes)


def demand(record: NewCustomer) -> Subscription:
    return Subscription(record=record, kind=SupplyKind.DEMAND)


@pytest.mark.req("G12")
def test_a_subscriber_by_demand_is_taken_in_under_the_portals_role_and_billed(
    db: Database, database_dsn: str
) -> None:
    grid(db, (1, "Asia/Tehran"))
    with Database(database_dsn, user="meterloop_portal", application="test") as portal:
        assert subscribing.subscribe(portal, demand(factory(1)), actor="user:reza", now=NOW)
        assert not subscribing.subscribe(portal, demand(factory(1)), actor="user:reza", now=NOW)
    at = datetime.combine(FEB, time(0), TEHRAN) - timedelta(minutes=10)
    put_registers(db, "UP-000001", {at: 100_000_000})
    run = runs.open_run(db, start=JAN, end=FEB, zone=TEHRAN, actor="user:reza", now=NOW)
    moved = runs.advance(db, run.id, now=NOW)
    assert moved.waiting == "approval", "330 000 000 IRR is for two people"
    assert rows(db, "SELECT total_micros FROM bills.item") == [(330_000_000 * 1_000_000,)]


@pytest.mark.req("G12")
@pytest.mark.parametrize(
    ("changes", "kind", "code"),
    [
        ({}, SupplyKind.ORDINARY, "subscribers.kind"),
        ({"attributes": {}}, SupplyKind.DEMAND, "subscribers.power"),
        ({"attributes": {"contract_w": "0"}}, SupplyKind.DEMAND, "subscribers.power"),
        ({"attributes": {"contract_w": "90000000"}}, SupplyKind.DEMAND, "subscribers.power"),
        ({"attributes": {"contract_w": "5", "industry": "maybe"}}, SupplyKind.DEMAND,
         "subscribers.attribute"),
        ({"currency": "CNY"}, SupplyKind.DEMAND, "subscribers.currency"),
        ({"tariff_code": "none-such"}, SupplyKind.DEMAND, "subscribers.tariff"),
        ({"started_at": datetime(2019, 6, 1, tzinfo=UTC)}, SupplyKind.DEMAND,
         "subscribers.tariff"),
        ({"usage_point": UsagePointId("UP-000009")}, SupplyKind.DEMAND,
         "subscribers.usage_point_unknown"),
        ({"usage_point": UsagePointId("UP-000002")}, SupplyKind.DEMAND, "subscribers.zone"),
        ({"language": "tlh"}, SupplyKind.DEMAND, "customers.record_bad"),
    ],
)  # fmt: skip
def test_who_could_not_be_billed_is_not_taken_in(
    db: Database, changes: dict[str, Any], kind: SupplyKind, code: str
) -> None:
    grid(db, (1, "Asia/Tehran"), (2, "Asia/Shanghai"))
    wish = Subscription(record=factory(1, **changes), kind=kind)
    with pytest.raises(RefusedError) as refused:
        subscribing.subscribe(db, wish, actor="user:reza", now=NOW)
    assert refused.value.refusal.value == code
    assert rows(db, "SELECT count(*) FROM customers.agreement") == [(0,)]


HEAD = ("customer,name,kind,language,phone,account,agreement,usage_point,tariff,currency,from,"
        "supply,contract_kw,opening_kwh,opening_balance,attributes")  # fmt: skip


def line(number: int, **changes: str) -> str:
    row = {
        "customer": f"CU-{number:06}", "name": "Wang Lei", "kind": "household", "language": "zh",
        "phone": "+8613800000001", "account": f"AC-{number:06}", "agreement": f"SA-{number:06}",
        "usage_point": f"UP-{number:06}", "tariff": "cq-household-lv", "currency": "CNY",
        "from": "2026-01-01", "supply": "ordinary", "contract_kw": "", "opening_kwh": "1000.5",
        "opening_balance": "-12.34", "attributes": "",
    } | changes  # fmt: skip
    return ",".join(row[name] for name in HEAD.split(","))


@pytest.mark.req("G13", "G12")
def test_a_file_takes_good_lines_in_and_tells_of_each_other_line(
    db: Database, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid(db, *((number, "Asia/Shanghai") for number in range(1, 9)), (20, "Asia/Tehran"))
    text = "\n".join([
        HEAD,
        line(1),
        line(2, attributes="households=2; rural = yes".replace(" = ", "=")),
        line(3, opening_kwh="1,5"),
        line(4, supply="demand"),
        line(5, usage_point="UP-000001"),
        line(77),
        line(6, opening_balance="12.3456789"),
        line(7, kind="robot"),
        line(8, **{"from": "2026-13-01"}),
        line(8, customer="CU-000001", name="Somebody else"),
        line(1),
        line(20, tariff="ir-industry-contract", currency="IRR", supply="demand",
             contract_kw="12.5", kind="legal"),
    ])  # fmt: skip
    file = tmp_path / "people.csv"
    file.write_text(text, encoding="utf-8")
    config = installation(tmp_path, database_dsn)
    all_signed_in(db, config, monkeypatch, "reza", "lin")

    def cli(*words: str) -> dict[str, Any]:
        given = ["customer", "import", str(file), "--config", str(config), "--json", *words]
        answer: dict[str, Any] = json.loads(CliRunner().invoke(app, given).stdout)
        return answer

    tried = cli("--check")
    assert tried["added"] == 3
    assert rows(db, "SELECT count(*) FROM customers.agreement") == [(0,)]
    answer = cli("--report", str(tmp_path / "refused.csv"))
    refused = {one["number"]: one["code"] for one in answer["refused"]}
    assert answer["added"] == 3
    assert refused == {
        4: "subscribers.line", 5: "subscribers.kind", 6: "subscribers.twice",
        7: "subscribers.usage_point_unknown", 8: "subscribers.line", 9: "subscribers.line",
        10: "subscribers.line", 11: "subscribers.customer_differs", 12: "subscribers.twice",
    }  # fmt: skip
    told = (tmp_path / "refused.csv").read_text().splitlines()
    assert len(told) == 1 + len(refused)
    again = cli()
    assert (again["added"], again["unchanged"]) == (0, 3)
    assert {one["number"] for one in again["refused"]} >= set(refused)
    kept = rows(
        db, "SELECT id, opening_register_wh, attributes FROM customers.agreement ORDER BY id"
    )
    assert kept[0] == ("SA-000001", 1_000_500, {})
    assert kept[1][2] == {"households": "2", "rural": "yes"}
    assert kept[2][2] == {"contract_w": "12500"}
    balances = rows(db, "SELECT posted_cr - posted_dr FROM ledger.account WHERE code = 'AC-000001'")
    assert balances == [(-12_340_000,)]


def test_a_file_with_wrong_columns_is_refused_whole(db: Database) -> None:
    for text in ("", "customer,name\n1,2", HEAD + ",colour\n" + line(1) + ",red"):
        with pytest.raises(RefusedError) as refused:
            subscribing.subscribe_file(db, text, zone=TEHRAN, actor="user:reza", now=NOW)
        assert refused.value.refusal.value == "subscribers.line"
