"""Verbs of what hangs where: a change of CT/PT ratio, by two people, with what it would change."""

from datetime import datetime
from math import gcd
from typing import Annotated, Any

import typer

from billing.bills.service import dependents
from cloud.assets import service as assets
from cloud.assets.model import Ratio, RatioProposal, Refusal
from cloud.rollups.model import Dependent
from cloud.rollups.service import ratios
from cloud.rollups.service.ratios import Preview
from cloud.store.db import Database
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.people import Actor, who_leads_readings
from meterloop.cli.usage_kit import Point, opened, zone_of
from protocols.errors import RefusedError
from protocols.identity import UsagePointId

Number = Annotated[int, typer.Argument(metavar="ID", help="Its number, as list shows it.")]


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    group = typer.Typer(no_args_is_help=True, help="What hangs where: CT/PT ratios.")
    ratio = typer.Typer(
        no_args_is_help=True, help="Change of CT/PT ratio: proposed, looked at, verified."
    )
    ratio.command("propose")(propose)
    ratio.command("list")(listed)
    ratio.command("preview")(preview)
    ratio.command("verify")(verify)
    ratio.command("refuse")(refuse)
    group.add_typer(ratio, name="ratio")
    app.add_typer(group, name="assets")


def propose(
    point: Point,
    factor: Annotated[str, typer.Argument(help="Such as 40, 200/5, or 10000/100.")],
    *,
    since: Annotated[
        datetime,
        typer.Option(
            "--from",
            formats=["%Y-%m-%dT%H:%M:%S%z"],
            help="Since when the transformers hang: 2026-03-05T12:00:00+08:00.",
        ),
    ],
    register_wh: Annotated[
        int | None, typer.Option(help="What the meter showed then, Wh; if it was written down.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, and the order or note that says so.")],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose a factor of a usage point from an instant on; show what it would change."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        id_ = UsagePointId(point)
        with db.transaction() as conn:
            zone_of(conn, id_)
        top, bottom = _factor(factor)
        wish = Ratio(
            usage_point=id_, valid_from=since, numerator=top, denominator=bottom,
            register_wh=register_wh,
        )  # fmt: skip
        who = who_leads_readings(db, actor)
        number = ratios.propose_ratio(db, wish, reason=reason, actor=who, now=now)
        _shown(db, number, now, actor=who, as_json=as_json)


def listed(
    point: Annotated[str | None, typer.Argument(metavar="[USAGE_POINT]")] = None,
    *,
    waiting: Annotated[bool, typer.Option("--open", help="Only what waits.")] = False,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """List proposed changes, newest first, with what was decided and by whom."""
    with failures_told(as_json=as_json), opened(config) as (db, _):
        with db.transaction() as conn:
            found = assets.ratio_proposals(
                conn, usage_point=UsagePointId(point) if point else None, only_open=waiting
            )
        say(
            {"proposals": [_plain(each) for each in found]}, as_json=as_json,
            text="\n".join(map(_line, found)) or "no change of a factor was proposed",
        )  # fmt: skip


def preview(id_: Number, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Show the days and bills that a proposed change would change now."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        _shown(db, id_, now, actor="system:preview", as_json=as_json)


def verify(
    id_: Number, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Let a proposed change hold; somebody else than who proposed it."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        found = ratios.verify_ratio(db, id_, actor=who_leads_readings(db, actor), now=now)
        say(_plain(found), as_json=as_json,
            text=f"{_line(found)}\nwhat rested on it is made anew by itself: "
            f"meterloop usage why-changed {found.ratio.usage_point}")  # fmt: skip


def refuse(
    id_: Number,
    *,
    reason: Annotated[str, typer.Option(help="Why it is refused, or withdrawn.")],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Refuse a proposed change, or withdraw your own."""
    with failures_told(as_json=as_json), opened(config) as (db, now):
        who = who_leads_readings(db, actor)
        found = ratios.refuse_ratio(db, id_, reason=reason, actor=who, now=now)
        say(_plain(found), as_json=as_json, text=_line(found))


def _shown(db: Database, id_: int, now: datetime, *, actor: str, as_json: bool) -> None:
    with db.transaction() as conn:
        found = assets.ratio_proposals(conn, id_=id_, limit=1)
    if not found:
        raise RefusedError(
            Refusal.UNKNOWN, f"no change of a factor has the number {id_}",
            fix="meterloop assets ratio list",
        )  # fmt: skip
    one = found[0]
    answer, text = _plain(one), _line(one)
    if one.verified is None:
        seen = ratios.preview_ratio(db, one.ratio, dependents.find, actor=actor, now=now)
        answer |= _changes(seen)
        text = "\n".join([text, *_told(seen), f"next: meterloop assets ratio verify {one.id}"])
    say(answer, as_json=as_json, text=text)


def _factor(text: str) -> tuple[int, int]:
    top, _, bottom = text.partition("/")
    if not (top.isdecimal() and (bottom or "1").isdecimal() and int(bottom or "1")):
        raise RefusedError(
            Refusal.RATIO, f"{text!r} is no factor", fix="such as 40, 200/5 or 10000/100"
        )
    common = gcd(int(top), int(bottom or "1"))
    return int(top) // common, int(bottom or "1") // common


def _plain(one: RatioProposal) -> dict[str, Any]:
    ratio = one.ratio
    return {
        "id": one.id, "usage_point": ratio.usage_point, "valid_from": ratio.valid_from,
        "numerator": ratio.numerator, "denominator": ratio.denominator,
        "register_wh": ratio.register_wh, "reason": one.reason, "proposed_by": one.proposed_by,
        "proposed_at": one.proposed_at, "state": _state(one), "why": one.why,
        "decided_by": one.decided_by, "decided_at": one.decided_at,
    }  # fmt: skip


def _changes(seen: Preview) -> dict[str, Any]:
    return {
        "difference_wh": seen.difference_wh,
        "days": [
            {"day": each.day, "wh_before": each.wh_before, "wh_after": each.wh_after}
            for each in seen.days
        ],
        "dependents": [_dependent(each) for each in seen.dependents],
    }


def _dependent(one: Dependent) -> dict[str, Any]:
    return {
        "kind": one.kind.value, "reference": one.reference, "account": one.account,
        "state": one.state, "wh_before": one.wh_before, "wh_after": one.wh_after,
        "currency": one.currency, "micros_before": one.micros_before,
        "micros_after": one.micros_after,
    }  # fmt: skip


def _state(one: RatioProposal) -> str:
    return {None: "proposed", True: "verified", False: "refused"}[one.verified]


def _line(one: RatioProposal) -> str:
    ratio = one.ratio
    noted = "" if ratio.register_wh is None else f" at {ratio.register_wh} Wh"
    decided = f" by {one.decided_by} {one.why}".rstrip() if one.decided_by else ""
    return (
        f"{one.id}  {ratio.usage_point}  x {ratio.numerator}/{ratio.denominator} from"
        f" {ratio.valid_from.isoformat()}{noted}: {_state(one)}{decided}"
        f"  ({one.proposed_by}: {one.reason})"
    )


def _told(seen: Preview) -> list[str]:
    lines = [f"{len(seen.days)} days would differ, together by {seen.difference_wh} Wh"]
    lines += [f"    {each.day}: {each.wh_before} -> {each.wh_after} Wh" for each in seen.days[-7:]]
    lines += [
        f"    {each.kind.value} {each.reference} ({each.account}): {each.state},"
        f" {each.micros_before} -> {each.micros_after} {each.currency} micros"
        for each in seen.dependents
    ]
    return lines
