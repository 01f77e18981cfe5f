"""`meterloop vee`: files in, findings and estimates out, and what cannot be used refused."""

import csv
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from meterloop.cli import app
from protocols.nem12 import Day, Nem12, Stream, write_nem12

pytestmark = pytest.mark.req("B11", "B12", "B17")
START = datetime(2026, 3, 1, tzinfo=UTC)


def run(*words: object) -> Any:
    return CliRunner().invoke(app, ["vee", *map(str, words)])


def answer(*words: object) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.output)
    return found


def refused(*words: object) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code != 0
    error: dict[str, Any] = json.loads(done.output)["error"]
    assert error["fix"]
    return error


def table(
    folder: Path, rows: list[str], head: str = "series,start,wh", name: str = "a.csv"
) -> Path:
    file = folder / name
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def hours(values: list[int | str], start: datetime = START) -> list[str]:
    return [
        f"m1,{(start + timedelta(hours=n)).isoformat()},{value}" for n, value in enumerate(values)
    ]


def test_a_csv_is_checked_and_every_finding_carries_rule_parameters_and_source(
    tmp_path: Path,
) -> None:
    file = table(tmp_path, hours([100, "", "", 100, -5, 100]))
    found = answer("check", file, "--now", "2026-03-05T00:00:00")
    (group,) = found["groups"]
    assert group["counts"] == {"gap": 1, "negative": 1, "billing_gate": 1}
    gap = next(one for one in group["findings"] if one["code"] == "gap")
    assert (gap["start"], gap["end"]) == ("2026-03-01T01:00:00Z", "2026-03-01T03:00:00Z")
    assert gap["parameters"] == {"allowed_slots": 0}
    assert gap["sources"]
    assert gap["severity"] == "error"


def test_an_estimate_adds_up_to_the_registers_and_is_written_with_its_quality(
    tmp_path: Path,
) -> None:
    file = table(tmp_path, hours([100, "", "", 100, 100, 100]))
    end = (START + timedelta(hours=6)).isoformat()
    registers = [f"m1,{START.isoformat()},7000", f"m1,{end},8001"]
    reads = table(tmp_path, registers, "series,at,wh", "r.csv")
    out = tmp_path / "out.csv"
    found = answer("estimate", file, "--registers", reads, "--write", out)
    (one,) = found["estimates"]
    assert (one["total_wh"], one["anchored"], one["reason"]) == (601, True, "missing")
    assert sum(one["wh"]) == 601
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert sum(int(row["wh"]) for row in rows) == 1001
    assert [row["quality"] for row in rows] == ["valid", "estimated", "estimated", *["valid"] * 3]


def test_what_cannot_be_estimated_stays_missing_with_its_reason(tmp_path: Path) -> None:
    file = table(tmp_path, hours([100, *[""] * 5, 100]))
    found = answer("estimate", file)
    assert (found["estimated"], found["refused"]) == (0, 1)
    assert found["estimates"][0]["reason"] == "no_method_applies"
    assert found["estimates"][0]["wh"] == []


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    values = [100, 250, 0, 0, 4_000, 100]
    text = table(tmp_path, hours(values))
    starts = [START + timedelta(hours=n) for n in range(len(values))]
    columns = {"meter": ["m1"] * len(values), "t": pa.array(starts, pa.timestamp("us", tz="UTC")),
               "kwh": [value / 1000 for value in values]}  # fmt: skip
    file = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), file)
    by_text, by_columns = answer("check", text), answer("check", file)
    assert by_text["groups"] == by_columns["groups"]


def nem12(folder: Path, days: int = 3) -> Path:
    made = tuple(
        Day(day=date(2026, 3, 1) + timedelta(days=n),
            wh=tuple(None if n == 1 and slot < 3 else 100 + slot for slot in range(48)),
            quality=tuple("N" if n == 1 and slot < 3 else "A" for slot in range(48)))
        for n in range(days)
    )  # fmt: skip
    stream = Stream(nmi="NMI1", configuration="E1", register="1", suffix="E1", serial="S",
                    unit=72, minutes=30, days=made)  # fmt: skip
    file = folder / "n.csv"
    file.write_text(write_nem12(Nem12(sender="A", receiver="B", streams=(stream,)), made=START))
    return file


def test_nem12_is_read_at_market_time_and_its_null_values_are_gaps(tmp_path: Path) -> None:
    found = answer("check", nem12(tmp_path), "--zone", "Australia/Brisbane")
    (group,) = found["groups"]
    assert group["series"] == ["NMI1/E1"]
    gap = next(one for one in group["findings"] if one["code"] == "gap")
    # the second market day, UTC+10, from midnight on
    assert (gap["start"], gap["value"]) == ("2026-03-01T14:00:00Z", 3)


def test_nem12_that_a_spreadsheet_has_saved_is_refused_with_a_fix(tmp_path: Path) -> None:
    file = nem12(tmp_path)
    file.write_text(file.read_text().replace("300,20260301", "300,2.02603E+07"))
    error = refused("check", file)
    assert error["code"] == "vee.file_nem12"
    assert "2.02603E+07" in error["message"]
    assert "spreadsheet" in error["fix"]


def test_the_days_on_which_the_clock_changes_are_told_and_lack_nothing(tmp_path: Path) -> None:
    start = datetime(2026, 3, 27, 23, tzinfo=UTC)
    rows = [
        f"m1,{(start + timedelta(minutes=15 * n)).isoformat()},{100 + n % 7}" for n in range(96 * 3)
    ]
    found = answer("check", table(tmp_path, rows), "--zone", "Europe/Berlin")
    (group,) = found["groups"]
    assert group["days"] == [{"day": "2026-03-29", "slots": 92}]
    assert "gap" not in group["counts"]


def test_a_local_clock_without_offset_is_refused_and_a_fixed_one_taken(tmp_path: Path) -> None:
    file = table(tmp_path, ["m1,2026-03-01T00:00:00,5", "m1,2026-03-01T01:00:00,5"])
    assert refused("check", file)["code"] == "vee.file_stamps"
    found = answer("check", file, "--stamps-at", "+10:00")
    assert found["groups"][0]["from"] <= "2026-02-28T14:00:00Z"


@pytest.mark.parametrize(
    ("head", "row", "code"),
    [
        ("series,when,wh", "m1,2026-03-01T00:00:00Z,5", "vee.file_shape"),
        ("series,start,kwh", "m1,2026-03-01T00:00:00Z,0.0005", "vee.file_shape"),
        ("series,start,wh", "m1,2026-03-01T00:00:00Z,five", "vee.file_shape"),
        ("series,start,wh", "m1,yesterday,5", "vee.file_stamps"),
        ("series,start,wh", "m1,2026-03-01T00:00:00Z,999999999999999", "vee.file_shape"),
        ("series,start,wh,quality", "m1,2026-03-01T00:00:00Z,5,perhaps", "vee.file_shape"),
        ("series,start,wh,seconds", "m1,2026-03-01T00:00:00Z,5,77", "vee.file_shape"),
    ],
)
def test_a_file_at_fault_is_refused_with_the_place_and_a_fix(
    tmp_path: Path, head: str, row: str, code: str
) -> None:
    assert refused("check", table(tmp_path, [row], head))["code"] == code


def test_a_file_that_is_nothing_of_the_kind_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "x"
    for octets in (b"", b"\x00\xff" * 50, b"PAR1 no", b"100,NEM12,a\n"):
        file.write_bytes(octets)
        assert refused("check", file)["code"] in {"vee.file_shape", "vee.file_nem12"}


def test_a_rule_set_of_ones_own_takes_the_place_of_the_shipped_one(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(json.dumps({
        "name": "own", "version": 1, "customer_class": "any", "valid_from": "2020-01-01",
        "rests_on": "household", "checks": {"gap": None},
    }))  # fmt: skip
    found = answer("check", table(tmp_path, hours([1, "", 1])), "--rules", own)
    assert "gap" not in found["groups"][0]["counts"]
    assert found["groups"][0]["rule_set"] == "own.v1"
    own.write_text("{}")
    assert refused("check", table(tmp_path, hours([1])), "--rules", own)["code"] == (
        "vee.rule_set_shape"
    )


def test_a_person_sees_a_picture_and_a_table(tmp_path: Path) -> None:
    file = table(tmp_path, hours([100, 200, "", "", 500, -5]))
    seen = run("check", file)
    assert seen.exit_code == 0
    assert "·" in seen.output
    assert "█" in seen.output or "▇" in seen.output
    assert "negative" in seen.output
    filled = run("estimate", file)
    assert "linear" in filled.output


def test_the_rules_are_shown_with_their_sources() -> None:
    found = answer("rules", "--class", "large")
    assert found["rule_set"] == "large"
    assert len(found["checks"]) >= 24
    assert all(check["sources"] for check in found["checks"].values())
