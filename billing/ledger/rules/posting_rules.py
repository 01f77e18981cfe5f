"""Posting rules as facts: one template of legs for each kind of event, checked when read."""

import json
from collections.abc import Mapping

from billing.ledger.model import AccountKind, Draft, Event, Leg, PostingRule, Refusal, RuleLeg, Side
from protocols.errors import RefusedError

_SIDES = {"debit": Side.DEBIT, "credit": Side.CREDIT}


def parse(text: str) -> Mapping[str, PostingRule]:
    """
    Return the rules of a file: `{kind: [[side, account kind, owner, amount], ...]}`.

    Raises: ValueError when a rule cannot be read: a bug in what ships, not an input.
    """
    found = {}
    for kind, legs in json.loads(text).items():
        rule = PostingRule(
            kind=kind,
            legs=tuple(
                RuleLeg(side=_SIDES[side], kind=AccountKind(account), owner=owner, amount=amount)
                for side, account, owner, amount in legs
            ),
        )
        if {leg.side for leg in rule.legs} != {Side.DEBIT, Side.CREDIT}:
            raise ValueError(f"posting rule {kind} books on one side only")
        found[kind] = rule
    return found


def draft_of(rules: Mapping[str, PostingRule], event: Event) -> Draft:
    """
    Return the entry that books `event`.

    Raises: RefusedError `ledger.rule_unknown`, or `ledger.rule_unfit` when the event lacks an owner
    or an amount that its rule names, or brings one that the rule does not know.
    """
    rule = rules.get(event.kind)
    if rule is None:
        raise RefusedError(
            Refusal.NO_RULE, f"no posting rule books {event.kind!r}",
            fix=f"use one of {', '.join(sorted(rules))}",
        )  # fmt: skip
    owners = {leg.owner for leg in rule.legs if leg.owner}
    amounts = {leg.amount for leg in rule.legs}
    used = {leg.owner for leg in rule.legs if leg.owner and event.amounts.get(leg.amount)}
    missing = sorted((amounts - event.amounts.keys()) | (used - event.owners.keys()))
    strange = sorted((event.amounts.keys() - amounts) | (event.owners.keys() - owners))
    if missing or strange:
        raise RefusedError(
            Refusal.RULE_UNFIT,
            f"{event.kind}: missing {missing or 'nothing'}, unknown {strange or 'nothing'}",
            fix="bring exactly the owners and amounts that the posting rule names",
        )
    return Draft(
        key=event.key, kind=event.kind, value_date=event.value_date, actor=event.actor,
        reason=event.reason, source_ref=event.source_ref,
        legs=tuple(_leg(leg, event) for leg in rule.legs if event.amounts[leg.amount]),
    )  # fmt: skip


def _leg(leg: RuleLeg, event: Event) -> Leg:
    amount = event.amounts[leg.amount]
    return Leg(
        code=leg.kind.code_of(event.owners[leg.owner] if leg.owner else ""),
        kind=leg.kind,
        side=leg.side if amount > 0 else leg.side.other,
        amount_micros=abs(amount),
        currency=event.currency,
    )
