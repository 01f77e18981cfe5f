"""
The story: one cut from the first warning to light again, and four that must end otherwise.

Each line is asserted against the database, against what the pages say and against the simulator's
own truth. Tracks run beside each other; a track ends where one of its steps fails.
"""

import asyncio

from meterloop.demo.acts import (
    approve_twice,
    be_cut,
    be_restored,
    begin_paid_up,
    fall_to_request,
    live_figures,
    live_power_is,
    paid,
)
from meterloop.demo.cast import Cast, Supply
from meterloop.demo.field import crew_cuts, crew_restores
from meterloop.demo.seed import MICROS, REMINDER_MICROS
from meterloop.demo.stage import Log, StepFailedError, Track, eventually
from protocols.reading import RelayState

MARYAM = Supply(number=42, login="maryam")
NIGORA = Supply(number=43, login="nigora")
AZIZA = Supply(number=60, login="aziza")
JASUR = Supply(number=77, login="jasur")
HOSPITAL = Supply(number=88)


async def tell(cast: Cast, log: Log) -> None:
    """Tell the whole story; what failed stands in `log`."""
    tracks = {
        "maryam": _maryam,
        "nigora": _nigora,
        "aziza": _aziza,
        "jasur": _jasur,
        "hospital": _hospital,
    }
    try:
        await asyncio.gather(
            *(_told(cast, Track(name=name, log=log, clock=cast.clock), tell_it)
              for name, tell_it in tracks.items())
        )  # fmt: skip
    finally:
        await cast.leave()


async def _told(cast: Cast, track: Track, tell_it: object) -> None:
    assert callable(tell_it)
    try:
        await tell_it(cast, track)
    except StepFailedError:
        return  # the line says what was missing; the other tracks go on


async def _maryam(cast: Cast, track: Track) -> None:
    """The whole loop: watched, warned, cut, paid, restored."""
    who, since = MARYAM, cast.clock.now()
    await track.step(
        "live", "Maryam watches her meter on her page", lambda: live_figures(cast, who),
        link="/home",
    )  # fmt: skip
    await track.step(
        "paid_up", "her balance stands a little above the reminder line",
        lambda: begin_paid_up(cast, who, REMINDER_MICROS[who.number] + MICROS * 6 // 10),
    )  # fmt: skip
    request = await fall_to_request(cast, track, who, since=since, reminded=True)
    await approve_twice(cast, track, who, request)
    await be_cut(cast, track, who, request)
    await track.step(
        "live_zero", "her page shows the cut and no power",
        lambda: live_power_is(cast, who, zero=True), link="/home",
    )  # fmt: skip
    await paid(cast, track, who, yuan=30)
    await be_restored(cast, track, who, state="connected")
    await track.step(
        "live_back", "power is back on her page",
        lambda: live_power_is(cast, who, zero=False), link="/home",
    )  # fmt: skip


async def _nigora(cast: Cast, track: Track) -> None:
    """A meter that can only arm: the customer closes it by hand."""
    who, since = NIGORA, cast.clock.now()
    await track.step("paid_up", "Nigora's balance is set below zero",
                     lambda: begin_paid_up(cast, who, -MICROS // 2))  # fmt: skip
    request = await fall_to_request(cast, track, who, since=since, reminded=False)
    await approve_twice(cast, track, who, request)
    await be_cut(cast, track, who, request)
    await paid(cast, track, who, yuan=40)
    await be_restored(cast, track, who, state="armed")

    async def press() -> str:
        seen = await cast.hand(who, "press")
        if not seen["output_closed"]:
            raise StepFailedError(f"the button closed nothing: {seen}")

        async def connected() -> str | None:
            return "connected" if (await cast.supply(who)).relay_state == "connected" else None

        return await eventually(connected, wall_seconds=cast.wall(), what="the closed switch")

    await track.step("pressed", "she presses the button and has light", press)


async def _aziza(cast: Cast, track: Track) -> None:
    """A payment that arrives between approval and cut stops the cut."""
    who, since = AZIZA, cast.clock.now()
    await track.step("paid_up", "Aziza's balance is set below zero",
                     lambda: begin_paid_up(cast, who, -MICROS // 2))  # fmt: skip
    request = await fall_to_request(cast, track, who, since=since, reminded=False)

    async def halt() -> str:
        operator = await cast.browser("lin")
        if await operator.holds("/cuts", "/cuts/halt"):
            await operator.send("/cuts", "/cuts/halt")
        if not await operator.holds("/cuts", "/cuts/resume"):
            raise StepFailedError("the board does not show the halt")
        return "halted"

    async def resume() -> str:
        operator = await cast.browser("lin")
        await operator.send("/cuts", "/cuts/resume")
        return "resumed"

    await track.step("halt", "Lin halts all cutting for a moment", halt, link="/cuts")
    try:
        await approve_twice(cast, track, who, request)
        await paid(cast, track, who, yuan=40)
    finally:
        await track.step("resume", "cutting may go on", resume, link="/cuts")

    async def stopped() -> str:
        async def cancelled() -> str | None:
            found = [ask for ask in await cast.requests(who) if ask.id == request]
            return (
                f"{found[0].state.value}: {found[0].cause}"
                if found[0].state == "cancelled"
                else None
            )

        seen = await eventually(cancelled, wall_seconds=cast.wall(), what="the end of the request")
        ordered = [one for one in await cast.commands(who) if one.request == request]
        switch = await cast.look(who)
        if ordered or not switch["output_closed"]:
            raise StepFailedError(f"cut after payment: {ordered} {switch}")
        return seen

    await track.step("stopped", "the payment stopped the cut; her switch never moved", stopped)


async def _jasur(cast: Cast, track: Track) -> None:
    """A relay that sticks: failed command, work order, crew; and the same on the way back."""
    who, since = JASUR, cast.clock.now()
    await track.step("paid_up", "Jasur's balance is set below zero",
                     lambda: begin_paid_up(cast, who, -MICROS // 2))  # fmt: skip
    request = await fall_to_request(cast, track, who, since=since, reminded=False)
    await approve_twice(cast, track, who, request)
    await crew_cuts(cast, track, who, request)
    await paid(cast, track, who, yuan=40)
    await crew_restores(cast, track, who)


async def _hospital(cast: Cast, track: Track) -> None:
    """A protected customer: the cut is refused with the reason."""
    who = HOSPITAL

    async def refused() -> str:
        before = {request.id for request in await cast.requests(who)}
        operator = await cast.browser("reza")
        page = await operator.text(f"/customers/{who.usage_point}")
        if f"/customers/{who.usage_point}" not in page and who.usage_point not in page:
            raise StepFailedError("the customer's page does not open")
        answer = await operator.send(
            f"/customers/{who.usage_point}", "/cuts", usage_point=who.usage_point, reason="arrears"
        )
        fresh = [ask for ask in await cast.requests(who) if ask.id not in before]
        supply, switch = await cast.supply(who), await cast.look(who)
        kept = [ask.cause for ask in fresh if ask.state == "refused"]
        if answer.status_code not in (409, 422) or len(kept) != len(fresh) or not supply.protected:
            raise StepFailedError(f"not refused: {answer.status_code}, {fresh}")
        if switch["control_state"] != RelayState.CONNECTED:
            raise StepFailedError(f"the hospital's switch moved: {switch}")
        return f"{answer.status_code}, kept as refused: {kept}"

    await track.step(
        "protected", "a cut of the hospital is refused: life support", refused,
        link=f"/customers/{who.usage_point}",
    )  # fmt: skip
