"""What happens to any supply in the story: fall, request, approvals, cut, payment, restore."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from billing.prepaid import service as prepaid
from cloud.control.model import RequestId
from cloud.messages.model import Message, MessageState
from meterloop.demo.cast import Cast, Supply
from meterloop.demo.seed import MICROS
from meterloop.demo.stage import StepFailedError, Track, eventually

_CLEAR_MICROS = 15 * MICROS
_FIRST_VALUE_SECONDS = 20.0


async def live_figures(cast: Cast, who: Supply) -> str:
    """Show a reading on the customer's stream and hold it against the meter and the price."""
    before = await cast.look(who)
    event = await _event(cast, who, "reading", lambda found: "w" in found)
    after = await cast.look(who)
    if not event["wh"] <= after["register_wh"]:
        raise StepFailedError(f"page {event['wh']} Wh is ahead of the meter {after}")
    balance = await cast.balance(who)
    now = cast.clock.now()
    why = await cast.ask(lambda conn: prepaid.explain(conn, who.usage_point, now=now))
    if sum(line.amount_micros for line in why.lines) != why.fee_micros:
        raise StepFailedError(f"lines do not add up to {why.fee_micros}: {why.lines}")
    page = await (await cast.browser(who.login)).text("/home")
    if who.usage_point not in page:
        raise StepFailedError("the page is not hers")
    return (
        f"{event['wh']} Wh, {event['w']} W; "
        f"meter {before['register_wh']}..{after['register_wh']} Wh; "
        f"balance {_yuan(balance.available_micros)}"
    )


async def begin_paid_up(cast: Cast, who: Supply, micros: int) -> str:
    """Bring a supply to the story's beginning: switched on, nothing open, then this balance."""
    supply = await cast.supply(who)
    if supply.relay_state in ("disconnected", "armed") or supply.open_command:
        # an earlier run was broken off here: pay and let the product, then a hand, restore
        await cast.pay(who, 60, name="stage")
        await cast.hand(who, "close")

    async def quiet() -> bool | None:
        found = await cast.supply(who)
        open_ones = [ask for ask in await cast.requests(who) if ask.state in _OPEN]
        for ask in open_ones:
            if ask.state != "ordered":
                operator = await cast.browser("reza")
                with contextlib.suppress(StepFailedError):
                    await operator.send("/cuts", f"/cuts/{ask.id}/withdraw")
        seen = await cast.look(who)
        known = found.relay_state == "connected" and found.open_command is None
        return True if known and seen["output_closed"] and not open_ones else None

    if (await cast.balance(who)).available_micros < _CLEAR_MICROS:
        await cast.pay(who, 60, name="stage")
    await eventually(quiet, wall_seconds=cast.wall(), what=f"a closed switch at {who.usage_point}")
    change = await cast.adjust_to(who, micros, name="stage")
    return f"{_yuan(micros)} (adjusted by {_yuan(change)}, two people)"


async def fall_to_request(
    cast: Cast, track: Track, who: Supply, *, since: datetime, reminded: bool
) -> RequestId:
    """Follow a balance through its lines until billing asks for a cut; return the request."""
    earlier = {ask.id for ask in await cast.requests(who)}

    async def told(kind: str) -> str:
        async def sent() -> str | None:
            for message in await cast.messages(who):
                if message.kind == kind and message.enqueued_at >= since and _told(message):
                    balance = await cast.balance(who)
                    left = _yuan(balance.available_micros)
                    return f"{message.channel.value} {message.state.value}, {left}"
            return None

        return await eventually(sent, wall_seconds=cast.wall(hours=48), what=f"the {kind} message")

    if reminded:
        await track.step("reminder", "balance falls below the reminder line; she is told",
                         lambda: told("reminder"), link="/home")  # fmt: skip
    await track.step("dunning", "balance below zero: dunning message, the notice runs",
                     lambda: told("dunning"))  # fmt: skip

    async def asked() -> RequestId:
        async def request() -> RequestId | None:
            for ask in await cast.requests(who):
                if ask.id not in earlier and ask.state in _OPEN:
                    left = int(ask.figures["available_micros"])
                    if left >= 0 or ask.requested_by != "system:billing":
                        raise StepFailedError(f"asked at {left} by {ask.requested_by}")
                    return ask.id
            return None

        return await eventually(request, wall_seconds=cast.wall(hours=72), what="the request")

    return await track.step(
        "request", "the notice has run out; the fee is recomputed and a cut is asked for", asked,
        link="/cuts",
    )  # fmt: skip


async def approve_twice(cast: Cast, track: Track, who: Supply, request: RequestId) -> None:
    """Let two different people approve; the first one trying twice must not count."""

    async def approved_by(wanted: int) -> tuple[str, ...]:
        async def enough() -> tuple[str, ...] | None:
            ask = next(ask for ask in await cast.requests(who) if ask.id == request)
            return ask.approved_by if len(ask.approved_by) >= wanted else None

        return await eventually(enough, wall_seconds=cast.wall(), what=f"approval {wanted}")

    async def approve(login: str, wanted: int) -> str:
        person = await cast.browser(login)
        await person.send("/cuts", f"/cuts/{request}/approve")
        return ", ".join(await approved_by(wanted))

    async def twice() -> str:
        seen = await approve("reza", 1)
        person = await cast.browser("reza")
        if await person.holds("/cuts", f"/cuts/{request}/approve"):
            again = await person.send("/cuts", f"/cuts/{request}/approve")
            if again.status_code not in (409, 422):
                raise StepFailedError(f"one person approved twice: {again.status_code}")
        if len(await approved_by(1)) != 1:
            raise StepFailedError("one person counted twice")
        return seen

    await track.step("approval_1", "Reza approves; his second try does not count", twice,
                     link="/cuts")  # fmt: skip
    await track.step("approval_2", "Lin approves", lambda: approve("lin", 2), link="/cuts")


async def be_cut(cast: Cast, track: Track, who: Supply, request: RequestId) -> None:
    """Await the handshake, the open relay and the outcome that matches it."""

    async def cut() -> str:
        async def done() -> str | None:
            ended = [one for one in await cast.commands(who)
                     if one.request == request and one.ended_at is not None]  # fmt: skip
            if not ended:
                return None
            if ended[0].state != "done":
                raise StepFailedError(f"the cut ended {ended[0].state}: {ended[0].end_reason}")
            return str(ended[0].id)

        command = await eventually(done, wall_seconds=cast.wall(hours=24), what="the cut's outcome")
        seen, supply = await cast.look(who), await cast.supply(who)
        if seen["output_closed"] or seen["power_w"] or supply.relay_state != "disconnected":
            raise StepFailedError(f"{command} says done, the meter says {seen}, we say {supply}")
        return f"{command}, relay open, 0 W"

    await track.step("cut", "command, nonce, go: the relay opens and is read back", cut,
                     link="/cuts")  # fmt: skip


async def paid(cast: Cast, track: Track, who: Supply, *, yuan: int) -> None:
    """Let the bank tell of one payment three times; it counts once and raises the epoch."""

    async def pay() -> str:
        before = await cast.supply(who)
        answers = await cast.pay(who, yuan, name="story")
        after = await cast.supply(who)
        if after.epoch <= before.epoch:
            raise StepFailedError(f"the epoch stayed at {after.epoch}")
        receipt = answers[0].body.get("receipt_no")
        return f"{yuan} CNY, told {len(answers)} times, receipt {receipt}, epoch {after.epoch}"

    await track.step("payment", "the customer pays at the bank; the epoch rises", pay)


async def be_restored(cast: Cast, track: Track, who: Supply, *, state: str) -> None:
    """Await the reconnect that the payment issued, and the switch that proves it."""

    async def restored() -> str:
        async def there() -> str | None:
            supply, seen = await cast.supply(who), await cast.look(who)
            closed = seen["output_closed"] if state == "connected" else seen["control_state"] == 2
            return supply.relay_state if supply.relay_state == state and closed else None

        await eventually(there, wall_seconds=cast.wall(), what=f"a switch that is {state}")
        newest = (await cast.commands(who))[0]
        if newest.verb != "reconnect":
            raise StepFailedError(f"the newest command is {newest.verb}")
        return f"{newest.id} {newest.state}"

    text = {
        "connected": "the reconnect goes out at once; the relay closes",
        "armed": "this meter can only arm: she is told to press the button",
    }[state]
    await track.step("restored", text, restored)


async def live_power_is(cast: Cast, who: Supply, *, zero: bool) -> str:
    """Await a live reading on the customer's stream with no power, or with some."""
    event = await _event(
        cast, who, "reading", lambda found: "w" in found and (found["w"] == 0) is zero
    )
    return f"{event['w']} W"


def _told(message: Message) -> bool:
    """Tell whether a message has left us: taken by the SMS centre, or printed for the post."""
    return message.state in (MessageState.SENT, MessageState.DELIVERED, MessageState.PAPER)


_OPEN = ("requested", "approved_1", "approved_2", "rechecked", "ordered")


async def _event(cast: Cast, who: Supply, kind: str, fits: Any) -> dict[str, Any]:
    """Return the first fitting event of the live stream, opening it again when it breaks."""
    deadline = time.monotonic() + cast.wall(seconds=_FIRST_VALUE_SECONDS * 3)
    browser = await cast.browser(who.login)
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_FIRST_VALUE_SECONDS):
                async for event in _events(browser, who):
                    if event.get("k") == kind and fits(event):
                        return event
        await asyncio.sleep(0.3)
    raise StepFailedError(f"no fitting {kind} event on the live stream of {who.usage_point}")


async def _events(browser: Any, who: Supply) -> AsyncIterator[dict[str, Any]]:
    async with browser.live(who.usage_point) as lines:
        async for line in lines:
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


def _yuan(micros: int) -> str:
    sign = "-" if micros < 0 else ""
    whole, part = divmod(abs(micros), MICROS)
    return f"{sign}{whole}.{part // 10_000:02d} CNY"
