"""Verbs of fee control: policies, emergency credit, old debt, looks, the watch, statistics."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from billing.customers import service as customers
from billing.customers.model import LANGUAGES, CustomerCard
from billing.money import parse_micros, to_text
from billing.prepaid import service as balances
from billing.prepaid.rules.credit import FIELDS, Level, PolicyPart
from billing.prepaid.service import credit, overview, policies, selection, watch
from billing.prepaid.store.credit import Source
from cloud.store.clock import Clock
from cloud.store.db import Connection, Database
from meterloop.cli.answer import (
    ConfigFile,
    JsonFlag,
    failures_told,
    installation_from,
    say,
)
from meterloop.cli.people import Actor, who_settles
from meterloop.config import ConfigError
from meterloop.stack import address_of_database
from protocols.timeline import TimeScale

Point = Annotated[str, typer.Argument(help="The usage point, such as UP-000042.")]
Account = Annotated[str, typer.Argument(help="The account, such as AC-000042.")]
Number = Annotated[int, typer.Argument(help="Its number in the list.")]
Reason = Annotated[str, typer.Option(help="Why; kept with it and in the audit log.")]
Verbs = Mapping[str, Callable[..., None]]
_YES, _NO = {"yes", "true", "1"}, {"no", "false", "0"}


def register(prepaid: typer.Typer) -> None:
    """Add the verbs under `prepaid`."""
    ours: Verbs = {
        "set": set_policy, "policies": list_policies, "group": group, "line": line,
        "rest-day": rest_day, "show": show, "take": take,
    }  # fmt: skip
    lend = _group("Policies, emergency credit, old debt.", ours)
    debt: Verbs = {"propose": propose, "approve": approve, "withdraw": withdraw, "list": debts}
    lend.add_typer(_group("Old debt: set aside by two, recovered by shares.", debt), name="debt")
    prepaid.add_typer(lend, name="credit")
    prepaid.add_typer(_group("Who is calculated when.", {"show": next_look}), name="selection")
    care: Verbs = {"look": look, "list": watched, "seen": seen, "desk": desk}
    prepaid.add_typer(_group("Those who may be without power unseen.", care), name="watch")
    prepaid.command("overview")(statistics)


def _group(words: str, verbs: Verbs) -> typer.Typer:
    found = typer.Typer(no_args_is_help=True, help=words)
    for name, verb in verbs.items():
        found.command(name)(verb)
    return found


def set_policy(
    level: Annotated[Level, typer.Argument(help="How near to the customer; the nearest wins.")],
    target: Annotated[str, typer.Argument(help="A currency, group, line, area or agreement.")],
    says: Annotated[list[str], typer.Argument(help="NAME=VALUE, such as emergency=10.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """
    Say how accounts are treated, whole: what is not named is inherited from a wider level.

    Names: cut_weekdays=12345, cut_from_hour, cut_until_hour, spare_eves, emergency, emergency_auto,
    emergency_from, recovery_permille, recovery_cap, unseen_minutes, limit_minutes, watch_days.
    """
    with failures_told(as_json=as_json), _books(config) as (db, now):
        part = PolicyPart(level=level, target=target, says=dict(_pair(each) for each in says))
        policies.set_policy(db, part, actor=who_settles(db, actor), now=now)
        say({"level": level.value, "target": target, "says": part.says}, as_json=as_json)


def list_policies(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List what each level says, the widest first."""
    with failures_told(as_json=as_json), _books(config) as (db, _):
        with db.transaction() as conn:
            found = policies.policies(conn)
        text = "\n".join(
            f"{part.level.value:<12} {part.target:<16} "
            + " ".join(f"{name}={value}" for name, value in part.says.items())
            for part in found
        )
        say({"policies": [asdict(part) for part in found]}, as_json=as_json, text=text or "none")


def group(
    agreement: Annotated[str, typer.Argument(help="The agreement, such as SA-000042.")],
    name: Annotated[str, typer.Argument(help="The group whose policy it follows.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Put an agreement into a group of customers."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        policies.set_group(db, agreement, name, actor=who_settles(db, actor), now=now)
        say({"agreement": agreement, "group": name}, as_json=as_json)


def line(
    transformer: Annotated[str, typer.Argument(help="The transformer area, such as T-01.")],
    name: Annotated[str, typer.Argument(help="The line that feeds it.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Say which line feeds a transformer area."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        policies.set_line(db, transformer, name, actor=who_settles(db, actor), now=now)
        say({"transformer": transformer, "line": name}, as_json=as_json)


def rest_day(
    day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"])],
    name: Annotated[str, typer.Argument(help="What is kept on it.")],
    *,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Let no cut begin on a day."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        policies.set_rest_day(db, day.date(), name, actor=who_settles(db, actor), now=now)
        say({"day": day.date().isoformat(), "name": name}, as_json=as_json)


def show(point: Point, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Take a balance apart: what is the customer's own, what is lent, what is old debt."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        with db.transaction() as conn:
            balance = balances.balance_of(conn, point, now)
            found = credit.credit_of(conn, _card(conn, point), balance, now)
        answer = {
            "usage_point": point, "currency": balance.currency,
            "available_micros": found.available_micros, "own_micros": found.own_micros,
            "lent_micros": found.lent_micros, "old_debt_micros": found.old_debt_micros,
            "cut_may_begin": found.friendly.open, "next_window": found.friendly.opens_at,
            "refusal": found.refusal.refusal.value if found.refusal else None,
            "policy": asdict(found.policy),
        }  # fmt: skip
        lent = to_text(found.lent_micros)
        say(
            answer, as_json=as_json,
            text=f"{point}: available {to_text(found.available_micros)} {balance.currency},"
            f" own {to_text(found.own_micros)}, lent {lent},"
            f" old debt {to_text(found.old_debt_micros)}\n"
            f"a cut may begin {'now' if found.friendly.open else 'from'}"
            f" {found.friendly.opens_at.isoformat()}\n"
            + (f"no loan now: {found.refusal.message}" if found.refusal else "a loan may be taken"),
        )  # fmt: skip


def take(
    point: Point, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Lend what the policy offers, for a customer who asks at the counter or by phone."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        given = credit.take_emergency(db, point, actor=who_settles(db, actor), now=now)
        say(asdict(given), as_json=as_json)


def propose(
    account: Account,
    amount: Annotated[str, typer.Argument(help="How much, such as 120.50.")],
    *,
    reason: Reason,
    source: Annotated[Source, typer.Option(help="Where it stands now.")] = Source.BALANCE,
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Propose that debt leaves the balance; nothing moves until another person agrees."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        number = credit.propose_old_debt(
            db, account, source=source, amount_micros=_money(amount), reason=reason,
            actor=who_settles(db, actor), now=now,
        )  # fmt: skip
        say({"proposal": number, "account": account}, as_json=as_json)


def approve(
    number: Number, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Agree to what another person proposed."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        found = credit.approve_old_debt(db, number, actor=who_settles(db, actor), now=now)
        say(asdict(found), as_json=as_json)


def withdraw(
    number: Number, *, actor: Actor = "", config: ConfigFile = None, as_json: JsonFlag = False
) -> None:
    """Take a proposal back."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        credit.withdraw_old_debt(db, number, actor=who_settles(db, actor), now=now)
        say({"proposal": number, "withdrawn": True}, as_json=as_json)


def debts(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List proposals that wait for a second person."""
    with failures_told(as_json=as_json), _books(config) as (db, _):
        with db.transaction() as conn:
            found = credit.old_debts_open(conn)
        text = "\n".join(
            f"{each.id:>6} {each.account:<14} {to_text(each.amount_micros):>14} {each.currency}"
            f"  {each.proposed_by}: {each.reason}"
            for each in found
        )
        say({"proposals": [asdict(each) for each in found]}, as_json=as_json, text=text or "none")


def next_look(point: Point, *, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Tell when an account has to be calculated again, and how long its balance lasts."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        with db.transaction() as conn:
            balances.balance_of(conn, point, now)
            found = selection.next_look_of(conn, point, now=now)
        assert found is not None
        say({"usage_point": point, **asdict(found)}, as_json=as_json)


def look(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """Look now for those who may be without power; the care desk is told of each new one."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        new = watch.look(db, now=now)
        with db.transaction() as conn:
            standing = len(watch.watched(conn))
        say({"new": new, "watched": standing}, as_json=as_json)


def watched(*, config: ConfigFile = None, as_json: JsonFlag = False) -> None:
    """List who may be without power, the vulnerable first."""
    with failures_told(as_json=as_json), _books(config) as (db, _):
        with db.transaction() as conn:
            found = watch.watched(conn)
        text = "\n".join(
            f"{each.id:>6} {each.usage_point:<12} {each.reason.value:<11}"
            f" since {each.since.date().isoformat()} {each.vulnerable or '-':<12}"
            f" {to_text(each.available_micros):>12} {each.currency} {each.note}"
            for each in found
        )
        say({"watched": [asdict(each) for each in found]}, as_json=as_json, text=text or "nobody")


def seen(
    number: Number,
    *,
    note: Annotated[str, typer.Option(help="What was found.")],
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Note that somebody looked after a customer."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        watch.note_seen(db, number, note=note, actor=who_settles(db, actor), now=now)
        say({"watch": number, "note": note}, as_json=as_json)


def desk(
    phone: Annotated[str, typer.Argument(help="Its number, such as +998901234567.")],
    *,
    language: Annotated[str, typer.Option(help="fa, zh, uz, ru or en.")] = "en",
    actor: Actor = "",
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Say how the care desk is reached."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        if language not in LANGUAGES:
            raise ConfigError("--language", [f"use one of {', '.join(LANGUAGES)}"])
        watch.set_care_desk(
            db, phone=phone, language=language, actor=who_settles(db, actor), now=now
        )
        say({"care_desk": phone, "language": language}, as_json=as_json)


def statistics(
    *,
    days: Annotated[int, typer.Option(min=1, max=3660, help="How many days back.")] = 30,
    config: ConfigFile = None,
    as_json: JsonFlag = False,
) -> None:
    """Tell how fee control stands as a whole: by area, class, side, quality; lines passed."""
    with failures_told(as_json=as_json), _books(config) as (db, now):
        with db.transaction() as conn:
            found = overview.overview(conn, days=days, now=now)
        text = "\n".join(
            [f"{found.accounts} accounts, {found.excepted()} exceptions"]
            + [
                f"{area or '-':<14} "
                + " ".join(f"{side} {found.on_side(side, area=area)}" for side in overview.SIDES)
                for area in found.areas
            ]
        )
        say(asdict(found), as_json=as_json, text=text)


def _pair(text: str) -> tuple[str, int | bool | str]:
    name, _, value = text.partition("=")
    money = f"{name}_micros"
    if money in FIELDS:
        return money, _money(value)
    if name not in FIELDS:
        raise ConfigError("NAME=VALUE", [f"{name!r} is none of {', '.join(FIELDS)}"])
    if name == "cut_weekdays":
        return name, value
    if name in {"spare_eves", "emergency_auto"}:
        if value.lower() not in _YES | _NO:
            raise ConfigError("NAME=VALUE", [f"{name} is yes or no, not {value!r}"])
        return name, value.lower() in _YES
    if not value.isascii() or not value.isdigit():
        raise ConfigError("NAME=VALUE", [f"{name} is a whole number, not {value!r}"])
    return name, int(value)


def _money(text: str) -> int:
    try:
        return parse_micros(text)
    except ValueError as error:
        raise ConfigError("amount", [f"{text!r} is no amount, such as 12.34"]) from error


def _card(conn: Connection, point: str) -> CustomerCard:
    card = customers.card_of(conn, point)
    assert card is not None, "a balance stands without its customer"
    return card


@contextmanager
def _books(config: Path | None) -> Iterator[tuple[Database, datetime]]:
    installation = installation_from(config)
    now = Clock(scale=TimeScale.parse(installation.time.scale)).now()
    with Database(address_of_database(installation), application="meterloop-cli", size=4) as db:
        yield db, now
