"""A task that lost a cancel is asked again, in the cloud and at the edge."""

import asyncio
from types import ModuleType

import pytest

from cloud.store import rim
from edge import ending


@pytest.mark.parametrize(("module", "pause"), [(rim, "CANCEL_AGAIN"), (ending, "_CANCEL_AGAIN")])
def test_a_lost_cancel_is_said_again(
    module: ModuleType, pause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, pause, 0.01)
    heard: list[str] = []

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                heard.append("cancel")
                if len(heard) == 3:
                    raise

    async def broken() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            raise ZeroDivisionError

    async def story() -> None:
        tasks = [asyncio.ensure_future(work()) for work in (deaf, broken)]
        await asyncio.sleep(0)
        await module.ended(*tasks)
        assert tasks[0].cancelled()
        assert isinstance(tasks[1].exception(), ZeroDivisionError)

    asyncio.run(story())
    assert len(heard) == 3


def test_what_ended_by_itself_keeps_its_result() -> None:
    async def story() -> int:
        task = asyncio.ensure_future(asyncio.sleep(0, 7))
        await task
        await rim.ended(task)
        return task.result()

    assert asyncio.run(story()) == 7


def test_work_side_by_side_ends_though_one_part_lost_its_cancel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rim, "CANCEL_AGAIN", 0.01)
    lost: list[int] = []

    async def publishing() -> None:
        while True:
            try:
                await asyncio.sleep(0.001)
            except asyncio.CancelledError:
                if lost:
                    raise
                lost.append(1)

    asyncio.run(rim.until_first(publishing(), asyncio.sleep(0)))
    assert lost == [1]
