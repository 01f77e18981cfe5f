"""Who may be without power unseen: the pure rule."""

from datetime import UTC, datetime, timedelta

import pytest

from billing.prepaid.rules.watching import Sight, WatchReason, reason_to_look

NOW = datetime(2026, 11, 18, 4, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def sight(**changes: object) -> Sight:
    seen = {
        "relay_state": "connected", "relay_at": NOW - 9 * DAY, "available_micros": -1,
        "register_missing": False, "used_wh": 0, "used_since": NOW - 3 * DAY,
    }  # fmt: skip
    return Sight(**{**seen, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, WatchReason.NO_USE),
        ({"used_wh": 1}, None),
        ({"used_wh": None}, None),
        ({"register_missing": True}, None),
        ({"available_micros": 0}, None),
        ({"used_since": NOW - 3 * DAY + timedelta(seconds=1)}, None),
        ({"relay_state": "disconnected"}, WatchReason.NO_SUPPLY),
        ({"relay_state": "armed", "available_micros": 5}, WatchReason.NOT_CLOSED),
        ({"relay_state": "disconnected", "relay_at": NOW - 2 * DAY}, None),
        ({"relay_state": "disconnected", "relay_at": None}, None),
        ({"relay_state": "unknown"}, WatchReason.NO_USE),
    ],
)
def test_what_asks_for_a_look(changes: dict[str, object], reason: WatchReason | None) -> None:
    found = reason_to_look(sight(**changes), days=3, now=NOW)
    assert (found[0] if found else None) is reason
    if found:
        assert found[1] <= NOW - 3 * DAY
