"""The field part of the story: a cut and a restore that only a crew can finish."""

from cloud.control.model import RequestId
from cloud.work.model import Order
from meterloop.demo.cast import Cast, Supply
from meterloop.demo.stage import StepFailedError, Track, eventually
from meterloop.demo.town import CREW_PHONE

_CUT_ON_SITE, _RESTORED_ON_SITE = 5, 12
"""Outcome codes of a visit: D20's 5, and 12 for a supply restored on site (E6)."""


async def crew_cuts(cast: Cast, track: Track, who: Supply, request: RequestId) -> None:
    """The remote cut fails on the stuck relay; Aziz cuts on site and reports; Reza verifies."""

    async def failed() -> str:
        async def ended() -> str | None:
            ask = next(ask for ask in await cast.requests(who) if ask.id == request)
            if ask.state == "cut":
                raise StepFailedError("a stuck relay was reported as cut")
            return f"{ask.tries} tries: {ask.cause}" if ask.state == "failed" else None

        return await eventually(ended, wall_seconds=cast.wall(hours=48), what="the failed cut")

    await track.step("cut_failed", "the relay sticks: the command ends as failed", failed,
                     link="/cuts")  # fmt: skip
    await _visit(cast, track, who, kind="cut_failure", act="open", outcome=_CUT_ON_SITE)


async def crew_restores(cast: Cast, track: Track, who: Supply) -> None:
    """The reconnect fails too; the crew closes on site and the supply is known to be connected."""
    await _visit(cast, track, who, kind="restore_failure", act="close", outcome=_RESTORED_ON_SITE)

    async def connected() -> str:
        async def there() -> str | None:
            supply, seen = await cast.supply(who), await cast.look(who)
            on = supply.relay_state == "connected" and seen["output_closed"]
            return "connected, seen at the meter" if on else None

        return await eventually(there, wall_seconds=cast.wall(), what="a connected supply")

    await track.step("light", "Jasur has light again", connected)


async def _visit(
    cast: Cast, track: Track, who: Supply, *, kind: str, act: str, outcome: int
) -> None:
    async def order_raised() -> Order:
        async def raised() -> Order | None:
            found = [order for order in await cast.orders(who)
                     if order.kind == kind and order.state in ("raised", "assigned")]  # fmt: skip
            return found[0] if found else None

        return await eventually(raised, wall_seconds=cast.wall(), what=f"a {kind} order")

    order = await track.step(f"{kind}_order", "a work order is raised", order_raised, link="/work")

    async def sent() -> str:
        if order.state == "raised":
            operator = await cast.browser("reza")
            await operator.send("/work", f"/work/{order.id}/assign", crew="aziz")

        async def told() -> str | None:
            texts = await cast.sms(CREW_PHONE)
            return (
                "SMS to the crew" if any(order.id in str(item["text"]) for item in texts) else None
            )

        return await eventually(told, wall_seconds=cast.wall(), what="the crew's SMS")

    await track.step(f"{kind}_crew", f"Aziz gets {order.id} on his phone", sent, link="/crew")

    async def done() -> str:
        seen = await cast.hand(who, act)
        crew = await cast.browser("aziz")
        register = int(seen["register_wh"])
        answer = await crew.send(
            f"/crew/{order.id}", f"/crew/{order.id}", outcome=str(outcome),
            register_kwh=f"{register // 1000}.{register % 1000:03d}", note=f"done on site: {act}",
            no_voltage="yes",
        )  # fmt: skip
        if answer.status_code != 200:
            raise StepFailedError(f"the report was not taken: {answer.status_code}")
        operator = await cast.browser("reza")
        await operator.send("/work", f"/work/{order.id}/verify")

        async def verified() -> str | None:
            found = next(item for item in await cast.orders(who) if item.id == order.id)
            return f"outcome {found.outcome}" if found.state == "verified" else None

        return await eventually(verified, wall_seconds=cast.wall(), what="the verified order")

    await track.step(
        f"{kind}_done", "he does it on site and reports; Reza verifies", done, link="/work"
    )
