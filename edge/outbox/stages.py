"""
How a command moves at the edge. One table; whatever is not in it does not happen.

    stage        event -> next stage
    (new)        admit -> accepted      refuse -> refused     lapse -> expired
    accepted     challenge -> challenge (a disconnect)        begin -> started (any other verb)
                 refuse -> refused      lapse -> expired      (a restart leaves it accepted)
    challenge    go -> started          refuse -> refused     lapse -> expired
                 restart -> expired     (the nonce lived in memory, nobody can answer it)
    started      succeed -> done        arm -> armed          fail -> failed
                 lose -> unknown        restart -> unknown    (it may or may not have acted)
    unknown      succeed -> done        arm -> armed          fail -> failed
    done, armed, refused, failed, expired: ends, nothing moves them

`begin` is not for a disconnect and `challenge` for nothing else, so a disconnect acts only on the
way accepted -> challenge -> go -> started, once. `unknown` is left by reading the switch or at its
deadline.
"""

from enum import StrEnum
from types import MappingProxyType

from protocols.mqtt.downlink import Verb
from protocols.mqtt.uplink import Stage


class CommandEvent(StrEnum):
    """What happens to a command."""

    ADMIT = "admit"
    REFUSE = "refuse"
    LAPSE = "lapse"
    CHALLENGE = "challenge"
    BEGIN = "begin"
    GO = "go"
    SUCCEED = "succeed"
    ARM = "arm"
    FAIL = "fail"
    LOSE = "lose"
    RESTART = "restart"


_E = CommandEvent
TABLE = MappingProxyType(
    {
        (None, _E.ADMIT): Stage.ACCEPTED,
        (None, _E.REFUSE): Stage.REFUSED,
        (None, _E.LAPSE): Stage.EXPIRED,
        (Stage.ACCEPTED, _E.CHALLENGE): Stage.CHALLENGE,
        (Stage.ACCEPTED, _E.BEGIN): Stage.STARTED,
        (Stage.ACCEPTED, _E.REFUSE): Stage.REFUSED,
        (Stage.ACCEPTED, _E.LAPSE): Stage.EXPIRED,
        (Stage.CHALLENGE, _E.GO): Stage.STARTED,
        (Stage.CHALLENGE, _E.REFUSE): Stage.REFUSED,
        (Stage.CHALLENGE, _E.LAPSE): Stage.EXPIRED,
        (Stage.CHALLENGE, _E.RESTART): Stage.EXPIRED,
        (Stage.STARTED, _E.SUCCEED): Stage.DONE,
        (Stage.STARTED, _E.ARM): Stage.ARMED,
        (Stage.STARTED, _E.FAIL): Stage.FAILED,
        (Stage.STARTED, _E.LOSE): Stage.UNKNOWN,
        (Stage.STARTED, _E.RESTART): Stage.UNKNOWN,
        (Stage.UNKNOWN, _E.SUCCEED): Stage.DONE,
        (Stage.UNKNOWN, _E.ARM): Stage.ARMED,
        (Stage.UNKNOWN, _E.FAIL): Stage.FAILED,
    }
)


def next_stage(stage: Stage | None, event: CommandEvent, verb: Verb) -> Stage | None:
    """Return where `event` leads from `stage` (None: a command not yet known), None for nowhere."""
    forbidden = CommandEvent.BEGIN if verb is Verb.DISCONNECT else CommandEvent.CHALLENGE
    if event is forbidden:
        return None
    return TABLE.get((stage, event))
