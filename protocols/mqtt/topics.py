"""
The topic tree.

    ami/v1/{concentrator}/up/{data,event,state,ack,fetch}  the agent speaks
    ami/v1/{concentrator}/down/{cmd,receipt,watch,fw}      the cloud speaks
    ami/v1/{concentrator}/down/config                      retained: the settings that hold
    ami/v1/live/{usage_point}/{reading,balance,supply}     retained, for people watching
"""

from enum import StrEnum

from protocols.errors import PeerError
from protocols.identity import ConcentratorId, UsagePointId, is_name

ROOT = "ami/v1"
ALL_DATA = f"{ROOT}/+/up/data"
ALL_ACKS = f"{ROOT}/+/up/ack"
ALL_STATES = f"{ROOT}/+/up/state"
ALL_FETCHES = f"{ROOT}/+/up/fetch"


class Live(StrEnum):
    """What a retained live topic tells of a usage point."""

    READING = "reading"
    """Published by the cloud after commit: see `protocols.mqtt.live.LiveReading`."""
    BALANCE = "balance"
    """Published by billing after each sweep: see `LiveBalance`."""
    SUPPLY = "supply"
    """Published by control when a switch was read: see `LiveSupply`."""


def up_data(concentrator: ConcentratorId) -> str:
    """Return where batches go up."""
    return f"{ROOT}/{concentrator}/up/data"


def up_ack(concentrator: ConcentratorId) -> str:
    """Return where command acks go up."""
    return f"{ROOT}/{concentrator}/up/ack"


def up_state(concentrator: ConcentratorId) -> str:
    """Return the retained presence topic; also the agent's will."""
    return f"{ROOT}/{concentrator}/up/state"


def down_command(concentrator: ConcentratorId) -> str:
    """Return where signed commands and signed go messages come down."""
    return f"{ROOT}/{concentrator}/down/cmd"


def down_receipt(concentrator: ConcentratorId) -> str:
    """Return where receipts of batches and of acks come down."""
    return f"{ROOT}/{concentrator}/down/receipt"


def down_watch(concentrator: ConcentratorId) -> str:
    """Return where the wish to poll a meter faster comes down."""
    return f"{ROOT}/{concentrator}/down/watch"


def down_config(concentrator: ConcentratorId) -> str:
    """Return where the signed settings of an agent stand, retained."""
    return f"{ROOT}/{concentrator}/down/config"


def down_firmware(concentrator: ConcentratorId) -> str:
    """Return where the blocks of an image come down that the agent has asked for."""
    return f"{ROOT}/{concentrator}/down/fw"


def up_fetch(concentrator: ConcentratorId) -> str:
    """Return where the agent asks for a block of an image."""
    return f"{ROOT}/{concentrator}/up/fetch"


def live(usage_point: UsagePointId, what: Live) -> str:
    """Return the retained live topic of a usage point."""
    return f"{ROOT}/live/{usage_point}/{what.value}"


def live_all(usage_point: UsagePointId) -> str:
    """Return the filter that covers everything live about one usage point."""
    return f"{ROOT}/live/{usage_point}/+"


def concentrator_of(topic: str) -> ConcentratorId:
    """Return who speaks on an `up` topic. Raises: PeerError `mqtt.topic` on any other topic."""
    parts = topic.split("/")
    if len(parts) == 5 and parts[0] == "ami" and parts[1] == "v1" and is_name(parts[2]):
        return ConcentratorId(parts[2])
    raise PeerError("mqtt.topic", f"not a concentrator topic: {topic[:120]!r}")


def is_reply(topic: str) -> bool:
    """Tell whether answers may be sent to `topic`: one of ours, and no filter."""
    parts = topic.split("/")
    return topic.startswith(f"{ROOT}/") and len(topic) <= 256 and all(map(is_name, parts[2:]))


def live_of(topic: str) -> tuple[UsagePointId, Live]:
    """Return usage point and kind of a live topic. Raises: PeerError `mqtt.topic`."""
    parts = topic.split("/")
    if len(parts) == 5 and parts[:3] == ["ami", "v1", "live"] and parts[4] in set(Live):
        return UsagePointId(parts[3]), Live(parts[4])
    raise PeerError("mqtt.topic", f"not a live topic: {topic[:120]!r}")
