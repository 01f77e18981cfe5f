"""Live readings are columns until their turn comes, and few are published at once."""

import asyncio
import json
from dataclasses import fields
from typing import Any, cast

import aiomqtt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.ingest.agent import answers
from cloud.ingest.agent.answers import Answers, Status
from cloud.ingest.model import NO_VALUE, LiveColumns, StoreOutcome
from cloud.store.clock import Clock
from protocols.identity import ConcentratorId, UsagePointId
from protocols.mqtt.live import LiveReading

C1 = ConcentratorId("C-01")


class StandingClock:
    """A clock whose monotonic time the test moves."""

    at = 100.0

    def monotonic(self) -> float:
        return self.at


class Listener:
    """Takes what is published; `while_publishing` happens in the middle of it."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.fails = False
        self.while_publishing: Any = None

    async def publish(self, _topic: str, payload: bytes, **_: Any) -> None:
        if self.fails:
            raise aiomqtt.MqttError("away")
        if self.while_publishing is not None:
            act, self.while_publishing = self.while_publishing, None
            act()
        self.heard.append(json.loads(payload))


def live(at_ms: int, totals: dict[int, int]) -> LiveColumns:
    """Totals by number of the usage point."""
    size = len(totals)
    none = np.full(size, NO_VALUE)
    return LiveColumns(
        usage_points=[UsagePointId(f"UP-{n:06}") for n in totals], wall_ms=at_ms,
        quality=["valid"] * size, at_ms=np.full(size, at_ms),
        register_wh=np.array(list(totals.values()), dtype=np.int64),
        today_wh=np.arange(size), power_w=none + 0, voltage_mv=none, current_ma=none,
    )  # fmt: skip


def told(at_ms: int, totals: dict[int, int]) -> StoreOutcome:
    return StoreOutcome(concentrator=C1, receipt=None, live=live(at_ms, totals))


@pytest.fixture
def there() -> tuple[Answers, Listener, StandingClock, Status]:
    clock, status, listener = StandingClock(), cast("Status", {}), Listener()
    found = Answers(cast("Clock", clock), status)
    found.client = cast("aiomqtt.Client", listener)
    return found, listener, clock, status


def tick(found: Answers) -> None:
    assert found.client is not None
    asyncio.run(found._publish_some(found.client))


@given(st.lists(st.integers(0, 2**50), max_size=6), st.sampled_from([None, 0, -5, 640]))
def test_columns_of_live_readings_are_readings(totals: list[int], watts: int | None) -> None:
    columns = live(7, dict(enumerate(totals)))
    columns.power_w[:] = NO_VALUE if watts is None else watts
    found = list(columns)
    assert found == [columns[n] for n in range(len(totals))] == list(columns[:])
    assert [(each.register_wh, each.power_w, each.current_ma) for each in found] == [
        (wh, watts, None) for wh in totals
    ]
    for each in found:
        types = {type(getattr(each, item.name)) for item in fields(LiveReading)}
        assert types <= {str, int, type(None)}


def test_a_wave_is_published_in_turns_that_forget_nobody(
    there: tuple[Answers, Listener, StandingClock, Status],
) -> None:
    found, listener, clock, status = there
    size = 2 * answers._LIVE_AT_ONCE + 10
    found.note(told(1, {n: n for n in range(size)}))
    tick(found)
    assert [each["register_wh"] for each in listener.heard] == list(range(answers._LIVE_AT_ONCE))
    found.note(told(2, {0: 1000, size - 1: 2000}))
    for _ in range(3):
        tick(found)
    # the last one told its newest, and the first waits until a second has passed
    assert len(listener.heard) == status["live"] == size
    assert listener.heard[-1]["register_wh"] == 2000
    clock.at += 1.1
    tick(found)
    assert listener.heard[-1]["register_wh"] == 1000


def test_what_is_no_news_or_old_news_is_not_published(
    there: tuple[Answers, Listener, StandingClock, Status],
) -> None:
    found, listener, clock, _ = there
    found.note(told(5, {1: 10}))
    tick(found)
    for at_ms, wh in ((5, 10), (4, 9)):
        clock.at += 2
        found.note(told(at_ms, {1: wh}))
        tick(found)
    assert [each["register_wh"] for each in listener.heard] == [10]


def test_what_comes_while_a_reading_is_published_is_not_lost(
    there: tuple[Answers, Listener, StandingClock, Status],
) -> None:
    found, listener, clock, _ = there
    found.note(told(1, {1: 10, 2: 20}))
    listener.while_publishing = lambda: found.note(told(2, {2: 21}))
    tick(found)
    clock.at += 2
    tick(found)
    assert [each["register_wh"] for each in listener.heard] == [10, 20, 21]


def test_a_broker_that_is_away_costs_no_more_than_the_reading_on_its_way(
    there: tuple[Answers, Listener, StandingClock, Status],
) -> None:
    found, listener, _, status = there
    found.note(told(1, {1: 10, 2: 20}))
    listener.fails = True
    tick(found)
    listener.fails = False
    tick(found)
    assert [each["register_wh"] for each in listener.heard] == [20]
    assert status["live"] == 1
