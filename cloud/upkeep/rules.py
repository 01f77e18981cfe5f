"""Decisions about upkeep: who may ask and approve, for what, and how a rollout spreads."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from cloud.assets.model import Meter
from cloud.upkeep.model import (
    ERRAND_MOVES,
    FINAL_ERRAND,
    LONGEST_HOURS,
    ROLLOUT_MOVES,
    RUNNING,
    TWO_PEOPLE,
    Errand,
    ErrandEvent,
    ErrandState,
    Image,
    Kind,
    Refusal,
    Rollout,
    RolloutEvent,
    RolloutState,
    Step,
    Wish,
)
from protocols.identity import CommandId
from protocols.mqtt.upkeep import MOST_SEALED_OCTETS, fault_of

_PERSON = "user:"


def move_rollout(state: RolloutState, event: RolloutEvent) -> RolloutState | None:
    """Return the state after `event`, or None where the table has no such move."""
    return ROLLOUT_MOVES.get((state, event))


def move_errand(state: ErrandState, event: ErrandEvent) -> ErrandState | None:
    """Return the state after `event`, or None where the table has no such move."""
    return ERRAND_MOVES.get((state, event))


def is_person(actor: str) -> bool:
    """Tell whether an actor is somebody, not something."""
    return actor.startswith(_PERSON) and len(actor) > len(_PERSON)


def refuse_wish(wish: Wish, *, now: datetime) -> tuple[Refusal, str] | None:
    """Return the first reason not to take a wish, and what to say of it; None when it may stand."""
    if not is_person(wish.requested_by):
        return Refusal.NOT_A_PERSON, f"{wish.requested_by} is no person"
    if not wish.reason.strip():
        return Refusal.NO_REASON, "a reason must be given"
    if not wish.targets:
        return Refusal.NO_TARGETS, "nothing is named that it is for"
    names = [target.meter for target in wish.targets]
    if len(set(names)) != len(names):
        return Refusal.BUSY, "a target is named twice"
    stages = wish.stages
    if stages.first < 1 or stages.most_open < 1 or not 0 <= stages.success_permille <= 1000:
        return Refusal.STAGES, "first and most_open start at 1, success_permille is 0 to 1000"
    if not now < wish.until <= now + timedelta(hours=LONGEST_HOURS):
        return Refusal.EXPIRED, f"it must end within {LONGEST_HOURS} hours from now"
    if wish.activate_at is not None and not now < wish.activate_at < wish.until:
        return Refusal.EXPIRED, "activation must lie before the end of the rollout"
    if wish.activate_at is not None and not wish.activate:
        return Refusal.ACTIVATION, "a time of activation is given, but no activation is asked for"
    return _refuse_content(wish)


def _refuse_content(wish: Wish) -> tuple[Refusal, str] | None:
    if wish.kind is Kind.CONFIGURATION:
        settings = wish.settings or {}
        fault = fault_of(settings)
        return (Refusal.SETTING, fault) if fault else None
    if wish.kind is Kind.REKEY:
        for target in wish.targets:
            if target.sealed is None or not 1 <= len(target.sealed) <= MOST_SEALED_OCTETS:
                text = f"{target.meter}: sealed keys must be 1 to {MOST_SEALED_OCTETS} octets"
                return Refusal.NO_KEYS, text
    if wish.kind is Kind.ACTIVATION:
        lacking = [target.meter for target in wish.targets if target.source is None]
        if lacking:
            text = f"no rollout left this image to be activated in {', '.join(lacking[:10])}"
            return Refusal.NOT_BROUGHT, text
    return None


def refuse_meter(kind: Kind, meter: Meter, image: Image | None) -> tuple[Refusal, str] | None:
    """Return why a meter cannot be a target, or None."""
    if meter.protocol != "dlms":
        which = Refusal.NO_KEYS if kind is Kind.REKEY else Refusal.NO_FIRMWARE
        return which, f"{meter.id} speaks {meter.protocol}; this is for dlms"
    if image is not None and meter.model != image.model:
        text = f"{meter.id} is a {meter.model}; the image is for {image.model}"
        return Refusal.OTHER_MODEL, text
    return None


def refuse_approval(rollout: Rollout, actor: str, *, now: datetime) -> Refusal | None:
    """Return the first reason why `actor` may not approve, or None."""
    if rollout.kind not in TWO_PEOPLE:
        return Refusal.NO_APPROVAL_NEEDED
    if rollout.state is not RolloutState.ASKED:
        return Refusal.WRONG_STATE
    if not is_person(actor):
        return Refusal.NOT_A_PERSON
    if actor.casefold() == rollout.requested_by.casefold():
        return Refusal.SAME_PERSON
    return Refusal.EXPIRED if rollout.until <= now else None


def next_step(rollout: Rollout, errands: Sequence[Errand], *, now: datetime) -> Step:
    """
    Return what a rollout does now; `errands` are all of it, by position.

    The first few go alone. The rest follow when all of them have ended and enough of them as done;
    from then on too small a share of what has ended halts it. What was sent is never taken back.
    """
    if rollout.state is RolloutState.ASKED:
        late = rollout.until <= now
        return (
            Step(event=RolloutEvent.LAPSE, cause="nobody approved it in time") if late else Step()
        )
    if rollout.state not in RUNNING:
        return Step()
    ended = [item for item in errands if item.state in FINAL_ERRAND]
    if rollout.state is RolloutState.FIRST:
        group = errands[: rollout.stages.first]
        if all(item.state in FINAL_ERRAND for item in group):
            fault = _too_few(group, rollout.stages.success_permille)
            if fault:
                return Step(event=RolloutEvent.HALT, cause=fault)
            whole = len(group) == len(errands)
            return Step(event=RolloutEvent.FINISH if whole else RolloutEvent.SPREAD)
    else:
        group = errands
        if len(ended) >= rollout.stages.first:
            fault = _too_few(ended, rollout.stages.success_permille)
            if fault:
                return Step(event=RolloutEvent.HALT, cause=fault)
        if len(ended) == len(errands):
            return Step(event=RolloutEvent.FINISH)
    return Step(issue=_to_issue(rollout, group))


def _to_issue(rollout: Rollout, group: Sequence[Errand]) -> tuple[CommandId, ...]:
    waiting = [item.id for item in group if item.state is ErrandState.WAITING]
    under_way = sum(
        item.state not in FINAL_ERRAND and item.state is not ErrandState.WAITING for item in group
    )
    return tuple(waiting[: max(rollout.stages.most_open - under_way, 0)])


def _too_few(ended: Collection[Errand], least_permille: int) -> str:
    """Return what to say of too many failures; empty when enough have succeeded."""
    done = sum(item.state is ErrandState.DONE for item in ended)
    if done * 1000 >= least_permille * len(ended):
        return ""
    return f"{done} of {len(ended)} succeeded; at least {least_permille} in 1000 must"
