"""Usage, its files, and the quarantine from the command line."""

import csv
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cloud.store.db import Database
from meterloop.cli import app
from meterloop.exports import Format, written
from protocols.cim.readings import Series
from protocols.cim.wire import from_json, from_xml
from protocols.errors import PeerError
from protocols.reading import Channel, Quality
from protocols.timeline import to_ms
from tests.integration.ingest_kit import (
    M1,
    ORIGIN,
    UP1,
    a_batch,
    build_network,
    registers,
    send,
    slots,
)


@pytest.fixture(autouse=True)
def _network(db: Database) -> None:
    build_network(db)


def cli(folder: Path, dsn: str, *words: str) -> dict[str, Any]:
    config = folder / "installation.toml"
    config.write_text(f'data = "{folder}"\n[database]\ndsn = "{dsn}"\n')
    result = CliRunner().invoke(app, [*words, "--config", str(config), "--json"])
    answer: dict[str, Any] = json.loads(result.stdout)
    assert answer["ok"] == (result.exit_code == 0), result.output
    return answer


def spoken(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [*words, "--config", str(folder / "installation.toml")])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.req("B14", "B16")
def test_usage_is_told_and_written_in_every_form(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    send(db, a_batch(1, registers(M1, {1: 1_000, 25: 3_500})))
    send(db, a_batch(2, slots(M1, {1: 100, 2: 250, 3: 0})))
    day = f"{ORIGIN:%Y-%m-%d}"
    span = ("--from", day, "--to", f"{ORIGIN + timedelta(days=3):%Y-%m-%d}")

    days = cli(tmp_path, database_dsn, "usage", UP1, *span)
    assert sum(row["wh"] or 0 for row in days["rows"]) == 2_500
    assert "█" in spoken(tmp_path, "usage", UP1, *span)
    read = cli(tmp_path, database_dsn, "usage", UP1, *span, "--by", "register")
    assert [row["wh"] for row in read["rows"]] == [1_000, 3_500]
    told = cli(tmp_path, database_dsn, "usage", UP1, *span, "--by", "interval")
    assert [row["wh"] for row in told["rows"]] == [100, 250, 0]

    starts = [to_ms(ORIGIN) + n * told["rows"][0]["seconds"] * 1000 for n in (1, 2, 3)]
    for form in ("csv", "parquet", "cim-xml", "cim-json"):
        out = tmp_path / f"usage.{form}"
        told = cli(
            tmp_path, database_dsn, "export", "--format", form, "--out", str(out),
            "--point", UP1, *span,
        )  # fmt: skip
        assert told["values"] == 3
        assert values_of(out, form) == [
            (at, wh, "valid") for at, wh in zip(starts, (100, 250, 0), strict=True)
        ]


def values_of(file: Path, form: str) -> list[tuple[int, int, str]]:
    """Return what stands in the file, read by somebody else's code where there is any."""
    match form:
        case "csv":
            rows = list(csv.DictReader(file.open()))
            assert {row["reading_type"].split(".")[16] for row in rows} == {"72"}
            stamps = np.array([row["start"].rstrip("Z") for row in rows], dtype="datetime64[ms]")
            return list(
                zip(
                    stamps.astype(np.int64).tolist(), [int(row["value"]) for row in rows],
                    [row["quality"] for row in rows], strict=True,
                )
            )  # fmt: skip
        case "parquet":
            table = pq.read_table(file).to_pydict()
            return [
                (to_ms(at), wh, quality)
                for at, wh, quality in zip(
                    table["start"], table["value"], table["quality"], strict=True
                )
            ]
        case _:
            read = from_xml if form == "cim-xml" else from_json
            [one] = read(file.read_bytes())
            assert one.channel is Channel.IMPORT_INTERVAL_WH
            return list(
                zip(
                    one.at_ms.tolist(), one.value.tolist(),
                    [Quality(found).value for found in one.quality], strict=True,
                )
            )  # fmt: skip


def test_an_empty_export_has_its_columns(db: Database, database_dsn: str, tmp_path: Path) -> None:
    for form in ("csv", "parquet", "cim-xml", "cim-json"):
        out = tmp_path / f"none.{form}"
        told = cli(tmp_path, database_dsn, "export", "--format", form, "--out", str(out))
        assert told["values"] == 0
        assert out.read_bytes()
    assert pq.read_table(tmp_path / "none.parquet").column_names[0] == "usage_point"


def test_a_wrong_question_says_what_to_do(db: Database, database_dsn: str, tmp_path: Path) -> None:
    unknown = cli(tmp_path, database_dsn, "usage", "UP-NOWHERE")
    assert unknown["error"]["code"] == "usage.unknown_point"
    assert unknown["error"]["fix"]
    backward = cli(
        tmp_path, database_dsn, "usage", UP1, "--from", "2026-03-02", "--to", "2026-03-02"
    )
    assert backward["error"]["code"] == "usage.span"
    daily = cli(
        tmp_path, database_dsn, "export", "--format", "csv", "--out", str(tmp_path / "x"),
        "--by", "day",
    )  # fmt: skip
    assert daily["error"]["code"] == "usage.span"


@pytest.mark.req("B12")
def test_the_quarantine_is_listed_shown_mended_and_dismissed(
    db: Database, database_dsn: str, tmp_path: Path
) -> None:
    assert "nothing" in say_list(tmp_path, database_dsn)
    send(db, a_batch(1, registers(M1, {1: 60_000, 2: 60_100})))
    send(db, a_batch(2, registers(M1, {3: 100})))
    listed = cli(tmp_path, database_dsn, "quarantine", "list")
    [item] = listed["items"]
    assert listed["causes"] == {item["cause"]: 1}
    assert item["row"]["raw"] == 100

    number = str(item["id"])
    shown = cli(tmp_path, database_dsn, "quarantine", "show", number)
    assert len(bytes.fromhex(shown["hex"])) == item["octets"]
    assert shown["payload"]["meters"] == [M1]
    page = spoken(tmp_path, "quarantine", "show", number)
    assert item["cause"] in page
    assert "0000  " in page

    still = cli(tmp_path, database_dsn, "quarantine", "redrive", number)
    assert still["error"]["code"] == "ingest.still_wrong"
    gone = cli(tmp_path, database_dsn, "quarantine", "dismiss", number, "--reason", "meter swap")
    assert gone["state"] == "dismissed"
    again = cli(tmp_path, database_dsn, "quarantine", "dismiss", number, "--reason", "meter swap")
    assert again["error"]["code"] == "ingest.settled"
    unknown = cli(tmp_path, database_dsn, "quarantine", "show", "999")
    assert unknown["error"]["fix"]
    kept = cli(tmp_path, database_dsn, "quarantine", "list", "--state", "dismissed")
    assert [row["id"] for row in kept["items"]] == [item["id"]]


def say_list(folder: Path, dsn: str) -> str:
    cli(folder, dsn, "quarantine", "list")
    return spoken(folder, "quarantine", "list")


def test_series_without_a_standard_length_are_named(tmp_path: Path) -> None:
    odd = Series(
        usage_point=UP1, channel=Channel.IMPORT_INTERVAL_WH, seconds=700,
        at_ms=np.zeros(1, np.int64), value=np.zeros(1, np.int64), quality=(Quality.RAW,),
    )  # fmt: skip
    for form in Format:
        with pytest.raises(PeerError, match="700"):
            written([odd], form)
