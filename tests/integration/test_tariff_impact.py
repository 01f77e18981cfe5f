"""`meterloop tariff diff --accounts`: what a new version does to the accounts of a database."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from billing.tariffs import service as tariffs
from cloud.store.db import Database
from meterloop.cli import app
from tests.integration.billing_kit import CODE, HOUR, ORIGIN, customer, read, street
from tests.integration.usage_kit import put_intervals

MAY = datetime(2026, 4, 30, 16, tzinfo=UTC)
"""Midnight of 1 May in Shanghai."""
JUNE = datetime(2026, 5, 31, 16, tzinfo=UTC)


FLAT = """line,kind,label_en,price
energy,energy,Energy,0.50
"""
BY_HOUR = """line,kind,label_en,price,periods,days,from,to
day,tou,,,,1-7,08:00,24:00
night,tou,,,,1-7,00:00,08:00
by_day,energy,Day,0.60,day,,,
by_night,energy,Night,0.20,night,,,
"""


def gazette(folder: Path, name: str, table: str) -> Path:
    (folder / f"{name}.csv").write_text(table)
    out = folder / f"{name}.json"
    words = ["tariff", "import", "gazette", str(folder / f"{name}.csv"), "--out", str(out)]
    words += ["--zone", "Asia/Shanghai", "--currency", "CNY", "--valid-from", "2026-01-01"]
    done = CliRunner().invoke(app, [*words, "--code", CODE, "--source", "test"])
    assert done.exit_code == 0, done.output
    return out


def versions(folder: Path, document: bytes, changes: dict[str, Any]) -> tuple[Path, Path]:
    old, new = folder / "old.json", folder / "new.json"
    old.write_bytes(document)
    new.write_text(json.dumps({**json.loads(document), **changes}))
    return old, new


def compare(dsn: str, files: Sequence[Path], *more: str) -> Result:
    words = ["tariff", "diff", *map(str, files), "--accounts", dsn, "--from", "2026-05-01"]
    return CliRunner().invoke(app, [*words, "--until", "2026-06-01", "--json", *more])


def dearer(document: bytes) -> dict[str, Any]:
    """Return the shipped household tariff with a first step dearer by 0.10 a kWh."""
    lines = json.loads(document)["lines"]
    assert lines[0]["steps"][0]["price"] == "0.5200"
    lines[0]["steps"][0]["price"] = "0.62"
    return {"version": 2, "lines": lines, "test_cases": [
        {"name": "one", "from_kwh": "0", "to_kwh": "100", "total": "62.00"}]}  # fmt: skip


def test_accounts_are_priced_by_both_from_their_registers(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    street(db, *(customer(number) for number in range(1, 6)),
           customer(6, started_at=MAY + 24 * HOUR, opening_register_wh=0))  # fmt: skip
    for number, start, end in ((1, 1_100_000, 1_400_000), (2, 1_000_000, 1_000_000),
                               (3, 1_000_000, 1_050_500)):  # fmt: skip
        read(db, f"UP-{number:06}", MAY - 2 * HOUR, start)
        read(db, f"UP-{number:06}", JUNE, end, "estimated")
    # 4 has a register of long ago alone, 5 has none, 6 came when May had begun
    read(db, "UP-000004", ORIGIN + timedelta(days=3), 1_000_000)
    document = tariffs.shipped(CODE)
    result = compare(database_dsn, versions(tmp_path, document, dearer(document)))
    assert result.exit_code == 0, result.output
    impact = json.loads(result.stdout)["impact"]
    # 300 and 50.5 kWh in the first step, 0.52 and 0.62 each
    assert (impact["before"], impact["after"]) == ("182.26", "217.31")
    assert (impact["accounts"], impact["up"], impact["same"]) == (3, 2, 1)
    assert impact["losers"] == [
        {"account": "AC-000001", "before": "156.00", "after": "186.00"},
        {"account": "AC-000003", "before": "26.26", "after": "31.31"},
    ]
    assert impact["unpriced"] == {"usage.registers": 2}


def test_a_year_ladder_goes_on_where_the_account_stood(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    document = tariffs.shipped(CODE)
    first = json.loads(document)["lines"][0]["steps"][0]
    edge_wh = int(first["upto_kwh"]) * 1_000
    # at 1 May it is 40 kWh below the edge: opening year + 10 kWh since the agreement began
    street(db, customer(1, opening_year_wh=edge_wh - 50_000))
    read(db, "UP-000001", MAY, 1_010_000)
    read(db, "UP-000001", JUNE, 1_110_000)
    result = compare(database_dsn, versions(tmp_path, document, dearer(document)))
    impact = json.loads(result.stdout)["impact"]
    assert impact["change"] == "4.00"


def test_what_registers_cannot_tell_is_refused(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    street(db, customer(1))
    document = tariffs.shipped(CODE)
    files = versions(tmp_path, document, dearer(document))
    demand = json.loads(document)
    limits = {"energy_kwh": "100000", "demand_kw": "1000"}
    line = {**{key: demand["lines"][0][key] for key in ("label", "ledger_code", "round")},
            "kind": "demand", "id": "demand", "per": "month", "prorate": "days",
            "steps": [{"over_kw": "0", "upto_kw": None, "price": "40"}]}  # fmt: skip
    energy = {**demand["lines"][0], "scope": {
        "widths": "fixed", "reset": "period", "mode": "marginal"}}  # fmt: skip
    del demand["largest_year_kwh"]
    case = {"name": "x", "total": "0.00", "usage": {
        "period": {"start": "2026-05-01", "end": "2026-06-01"}, "quality": "actual",
        "kwh": {"all": "0"}}}  # fmt: skip
    files[1].write_text(json.dumps({
        **demand, "basis": "period", "limits": limits, "lines": [energy, line],
        "test_cases": [case]}))  # fmt: skip
    refused = compare(database_dsn, files)
    assert refused.exit_code == 2, refused.output
    assert "DEMAND_MAX is not told by registers" in json.loads(refused.stdout)["error"]["message"]
    assert compare(database_dsn, files, "--until", "2026-04-01").exit_code == 2
    assert compare(database_dsn, files, "--until", "soon").exit_code == 2


def test_hours_are_told_by_intervals_and_a_gap_is_no_use(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    street(db, customer(1), customer(2))
    for number in (1, 2):
        hours = {MAY + n * HOUR: 1_000 for n in range(31 * 24) if (number, n) != (2, 77)}
        put_intervals(db, f"UP-00000{number}", hours)
    files = gazette(tmp_path, "flat", FLAT), gazette(tmp_path, "by_hour", BY_HOUR)
    impact = json.loads(compare(database_dsn, files).stdout)["impact"]
    # 744 kWh at 0.50; 496 by day at 0.60 and 248 by night at 0.20
    assert (impact["before"], impact["after"]) == ("372.00", "347.20")
    assert impact["unpriced"] == {"usage.gap": 1}
    document = tariffs.shipped(CODE)
    old, _ = versions(tmp_path, document, {})
    refused = compare(database_dsn, (old, files[1]))
    assert "beside a calendar year's ladder" in refused.stdout
