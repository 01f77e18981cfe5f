"""Switch reports come many at a time: however they are cut into batches, the moves are the same."""

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from cloud.ingest import service as ingest
from cloud.store.db import Database
from protocols.identity import MeterId
from protocols.mqtt.uplink import RelayReport
from protocols.reading import RelayReading, RelayState
from tests.integration.ingest_kit import M1, M2, ORIGIN, a_batch, build_network, send

REPORTS = 40


def some_reports(generator: random.Random) -> list[RelayReport]:
    """Reports of two meters, in any order of time, some of them twice."""
    reports = [
        RelayReport(
            meter=generator.choice((M1, M2)),
            at=ORIGIN + timedelta(hours=1, minutes=generator.randrange(30)),
            relay=RelayReading(
                output_closed=(closed := generator.random() < 0.5),
                control_state=RelayState.CONNECTED if closed else RelayState.DISCONNECTED,
                control_mode=generator.choice((1, 2)),
            ),
        )
        for _ in range(REPORTS)
    ]
    return [*reports, *generator.sample(reports, 5)]


def moves(reports: Sequence[RelayReport]) -> dict[MeterId, list[tuple[Any, ...]]]:
    """What one writes down who hears them one by one: the newest state, and each change of it."""
    newest: dict[MeterId, RelayReport] = {}
    changes: dict[MeterId, list[tuple[Any, ...]]] = {M1: [], M2: []}
    for report in reports:
        known = newest.get(report.meter)
        if known is not None and report.at <= known.at:
            continue
        if known is None or known.relay != report.relay:
            told = report.relay
            changes[report.meter].append(
                (report.at, told.output_closed, int(told.control_state), told.control_mode)
            )
        newest[report.meter] = report
    return changes


@pytest.mark.parametrize("size", [1, 3, 7, REPORTS + 5])
def test_moves_are_the_same_however_reports_are_cut_into_batches(db: Database, size: int) -> None:
    build_network(db)
    reports = some_reports(random.Random(size))
    for seq, at in enumerate(range(0, len(reports), size), start=1):
        send(db, a_batch(seq, [], relays=tuple(reports[at : at + size])))
    with db.transaction() as conn:
        for meter, expected in moves(reports).items():
            kept = ingest.relay_changes(conn, meter, limit=100)
            assert [
                (c.at, c.output_closed, c.control_state, c.control_mode) for c in reversed(kept)
            ] == expected
