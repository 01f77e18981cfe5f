"""DL/T 645-2007 at a line: the address of the one meter there, and whether it can be read."""

from collections.abc import Awaitable, Callable
from typing import Any

from edge.probe.model import Line, Outcome, Step
from edge.probe.steps import step_of
from edge.probe.talk import UnreadableError, ask
from protocols.dlt645.frame import (
    WILDCARD,
    Control,
    Frame,
    FrameReader,
    decode_address,
    encode_frame,
)
from protocols.dlt645.items import encode_di
from protocols.errors import PeerError

_WAKE = 4
_ADDRESS_OCTETS = 6
_IMPORT_TOTAL = 0x00010000
_REFUSALS = ("other error", "no such item", "password wrong", "baud rate cannot be changed")


async def survey(
    open_line: Callable[[], Awaitable[Line]], tried: str, *, seconds: float
) -> tuple[dict[str, Any], list[Step]]:
    """Return the facts about the meter on a line, none if there is none, and the steps."""
    try:
        line = await open_line()
    except PeerError as error:
        return {}, [step_of(tried, error)]
    try:
        asked = Frame(address=WILDCARD, control=Control.READ_ADDRESS)
        answer = await _ask(line, asked, seconds)
        address = (
            decode_address(answer.content)
            if len(answer.content) == _ADDRESS_OCTETS
            else (answer.address)
        )
        steps = [Step(tried=tried, outcome=Outcome.FOUND, words=f"meter {address} answers")]
        facts: dict[str, Any] = {"address": address}
        energy = Frame(address=address, control=Control.READ, content=encode_di(_IMPORT_TOTAL))
        told = await _ask(line, energy, seconds)
        if told.is_refusal:
            bits = told.content[0] if told.content else 1
            words = "; ".join(text for bit, text in enumerate(_REFUSALS) if bits >> bit & 1)
            steps.append(Step(tried=f"{tried}: energy", outcome=Outcome.REFUSED, words=words))
        else:
            facts["import_register"] = told.content[4:8][::-1].hex()
            steps.append(Step(tried=f"{tried}: energy", outcome=Outcome.FOUND, words="can be read"))
        return facts, steps
    except (PeerError, UnreadableError) as error:
        return {}, [step_of(tried, error)]
    finally:
        line.close()


async def _ask(line: Line, frame: Frame, seconds: float) -> Frame:
    reader = FrameReader()

    def search(octets: bytes) -> Frame | None:
        return next((found for found in reader.feed(octets) if found.is_answer), None)

    return await ask(line, encode_frame(frame, wake=_WAKE), search, seconds=seconds)
