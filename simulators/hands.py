"""
The hands of people in the story, over HTTP on loopback: the customer's thumb, the crew's key.

What is done here happens at the meter itself, past every program of the product.
"""

from collections.abc import Mapping

from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, ConfigDict

from simulators.faults import Fault
from simulators.meter.state import SimulatedMeter
from simulators.peers.sms_centre import SmsStore


class FaultSwitch(BaseModel):
    """A fault to begin or end."""

    model_config = ConfigDict(extra="forbid")

    name: Fault
    on: bool


def create_hands_app(meters: Mapping[str, SimulatedMeter], messages: SmsStore) -> FastAPI:
    """Return the application; it changes the meters it is given."""
    app = FastAPI(title="Hands at the simulated meters", openapi_url=None)

    def find(meter: str) -> SimulatedMeter:
        found = meters.get(meter)
        if found is None:
            raise HTTPException(404, f"no meter {meter}")
        return found

    # coroutines, not functions: meters live on the event loop and know no second thread
    @app.get("/meters/{meter}")
    async def look(meter: str) -> dict[str, object]:
        return _seen(find(meter))

    @app.post("/meters/{meter}/press")
    async def press(meter: str) -> dict[str, object]:
        found = find(meter)
        return {"moved": found.press(), **_seen(found)}

    @app.post("/meters/{meter}/open")
    async def crew_opens(meter: str) -> dict[str, object]:
        found = find(meter)
        return {"moved": found.crew_opens(), **_seen(found)}

    @app.post("/meters/{meter}/close")
    async def crew_closes(meter: str) -> dict[str, object]:
        found = find(meter)
        return {"moved": found.crew_closes(), **_seen(found)}

    @app.post("/meters/{meter}/fault")
    async def fault(meter: str, switch: FaultSwitch) -> dict[str, object]:
        found = find(meter)
        found.switch_fault(switch.name, on=switch.on)
        return _seen(found)

    @app.get("/sms")
    async def sms(to: str | None = None) -> list[dict[str, object]]:
        return [
            {"id": item.id, "to": item.to, "text": item.text, "at_ms": item.at_ms}
            for item in messages.sent_to(to)
        ]

    return app


def _seen(meter: SimulatedMeter) -> dict[str, object]:
    snapshot = meter.snapshot()
    relay = snapshot.relay
    return {
        "meter": meter.spec.meter,
        "usage_point": meter.spec.usage_point,
        "true_ms": snapshot.true_ms,
        "device_ms": snapshot.device_ms,
        "register_wh": snapshot.register_wh,
        "power_w": snapshot.power_w,
        "output_closed": None if relay is None else relay.output_closed,
        "control_state": None if relay is None else int(relay.control_state),
        "planted": meter.spec.planted,
        "faults": sorted(meter.faults),
    }
