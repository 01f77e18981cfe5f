"""Verbs of instalment plans: propose, show, approve, refuse, sign, withdraw, cancel."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from billing.bills.rules.plans import PlanEvent
from billing.bills.service import plans
from billing.bills.service.plans import ALL_KINDS, PlanPage, Wish
from billing.bills.store.plans import Plan
from billing.ledger.model import AccountKind
from billing.money import to_text
from meterloop.cli.answer import ConfigFile, JsonFlag, failures_told, say
from meterloop.cli.payments_kit import Books, Reason, amount_of, books
from meterloop.cli.people import Actor, Approver, two, who_bills
from meterloop.config import ConfigError

Number = Annotated[int, typer.Argument(help="The plan, as `plan show` lists it.")]
_KINDS = {
    "energy": AccountKind.AR_ENERGY, "penalty": AccountKind.AR_PENALTY,
    "connection": AccountKind.AR_CONNECTION, "balance": AccountKind.CUSTOMER,
}  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    plan = typer.Typer(no_args_is_help=True, help="Debts in instalments.")
    for verb in (propose, show, approve, refuse, sign, withdraw, cancel):
        plan.command()(verb)
    app.add_typer(plan, name="plan")


def propose(
    account: Annotated[str, typer.Argument(help="The account, such as AC-000042.")],
    *,
    first: Annotated[str, typer.Option(help="The share that is due at once, such as 80.00.")],
    instalments: Annotated[int, typer.Option(help="How many equal shares follow.")],
    of: Annotated[
        list[str] | None,
        typer.Option(help="energy, penalty, connection, balance; all, if left out."),
    ] = None,
    reason: Reason = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose to share what an account owes today; above the terms' sum another approves."""
    with failures_told(as_json=as_json), books(config) as found:
        unknown = sorted(set(of or ()) - _KINDS.keys())
        if unknown:
            raise ConfigError("--of", [f"{unknown[0]!r} is not one of {', '.join(_KINDS)}"])
        wish = Wish(
            account=account, first_micros=amount_of(first), instalments=instalments,
            kinds=frozenset(_KINDS[name] for name in of) if of else ALL_KINDS, reason=reason,
            actor=who_bills(found.db, actor),
        )  # fmt: skip
        _tell(found, plans.propose(found.db, wish, now=found.now), as_json=as_json)


def show(
    account: Annotated[str, typer.Argument(help="One account; what waits without it.")] = "",
    *,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Show an account's plans with their shares, or the plans that wait for somebody."""
    with failures_told(as_json=as_json), books(config) as found, found.db.transaction() as conn:
        if account:
            pages = plans.pages_of(conn, account)
            text = "\n".join(_page_text(page) for page in pages) or "no plans"
            say({"plans": [_page(page) for page in pages]}, as_json=as_json, text=text)
        else:
            waiting = plans.waiting(conn)
            text = "\n".join(_text(plan) for plan in waiting) or "nothing waits"
            say({"plans": [_plain(plan) for plan in waiting]}, as_json=as_json, text=text)


def approve(
    number: Number, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Approve a plan as the second person."""
    _decide(number, PlanEvent.APPROVE, (actor, reason), config, as_json=as_json)


def refuse(
    number: Number, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Refuse a plan as the second person."""
    _decide(number, PlanEvent.REFUSE, (actor, reason), config, as_json=as_json)


def withdraw(
    number: Number, *, reason: Reason = "", actor: Actor = "", config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Take back a plan that is not signed."""
    _decide(number, PlanEvent.WITHDRAW, (actor, reason), config, as_json=as_json)


def sign(
    number: Number,
    *,
    paper: Annotated[str, typer.Option(help="Where the paper with the signature lies.")],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Note that the customer has signed: the plan takes the debt over."""
    with failures_told(as_json=as_json), books(config) as found:
        if not paper.strip():
            raise ConfigError("--paper", ["name where the signed paper lies"])
        signed = plans.sign(
            found.db, number, actor=who_bills(found.db, actor), ref=paper.strip(), now=found.now
        )
        _tell(found, signed, as_json=as_json)


def cancel(
    number: Number,
    *,
    approver: Approver = "",
    reason: Reason = "",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Take a signed plan back by two people: what is unpaid is due again."""
    with failures_told(as_json=as_json), books(config) as found:
        both = two(who_bills, found.db, actor, approver)
        ended = plans.take_back(
            found.db, number, order=(both["actor"], both["approver"]), reason=reason, now=found.now
        )
        _tell(found, ended, as_json=as_json)


def _decide(
    number: int, event: PlanEvent, said: tuple[str, str], config: Any, *, as_json: bool
) -> None:
    actor, reason = said
    with failures_told(as_json=as_json), books(config) as found:
        decided = plans.decide(
            found.db, number, event, actor=who_bills(found.db, actor), reason=reason, now=found.now
        )
        _tell(found, decided, as_json=as_json)


def _tell(found: Books, plan: Plan, *, as_json: bool) -> None:
    with found.db.transaction() as conn:
        page = next(each for each in plans.pages_of(conn, plan.account) if each.plan.id == plan.id)
    say(_page(page), as_json=as_json, text=_page_text(page))


def _plain(plan: Plan) -> dict[str, Any]:
    return {**asdict(plan), "total_micros": plan.parts.total}


def _page(page: PlanPage) -> dict[str, Any]:
    return {
        **_plain(page.plan), "paid_micros": page.paid_micros, "left_micros": page.left_micros,
        "shares": [asdict(share) for share in page.shares],
    }  # fmt: skip


def _text(plan: Plan) -> str:
    return (
        f"plan {plan.id}  {plan.account}  {to_text(plan.parts.total)} {plan.currency}"
        f"  {plan.state}  proposed by {plan.proposed_by}: {plan.reason}"
    )


def _page_text(page: PlanPage) -> str:
    rows = [f"{_text(page.plan)}  paid {to_text(page.paid_micros)}"]
    rows += [
        f"  {share.seq:>3}  {share.due_on}  {to_text(share.amount_micros):>14}"
        for share in page.shares
    ]
    return "\n".join(rows)
