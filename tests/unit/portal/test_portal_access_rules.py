"""Who may do what, for how long, and after how many tries."""

from datetime import UTC, datetime, timedelta

import pytest

from portal.auth import rules
from portal.auth.model import PERMISSIONS, AccessRefusal, Permission, Role, SignedIn

NOW = datetime(2026, 11, 21, tzinfo=UTC)


def person(*roles: Role, points: tuple[str, ...] = ()) -> SignedIn:
    return SignedIn(
        login="x", name="X", language="en", calendar="gregorian", roles=frozenset(roles),
        usage_points=points, units=(), stepped_up_wall=None, form_token="t",
    )  # fmt: skip


@pytest.mark.req("R5")
def test_every_role_has_rights_and_only_office_roles_touch_cuts() -> None:
    assert set(PERMISSIONS) == set(Role)
    cutting = {Permission.CUT_REQUEST, Permission.CUT_APPROVE}
    assert {role for role in Role if cutting & PERMISSIONS[role]} == {Role.OPERATOR, Role.APPROVER}
    assert Permission.CUT_REQUEST not in PERMISSIONS[Role.APPROVER]


@pytest.mark.req("R5")
def test_a_customer_sees_the_own_supply_and_no_other() -> None:
    customer = person(Role.CUSTOMER, points=("UP-000042",))
    assert customer.may_see("UP-000042")
    assert not customer.may_see("UP-000043")
    assert person(Role.OPERATOR).may_see("UP-000043")
    assert not person(Role.CREW).may_see("UP-000042")


def test_several_roles_add_up() -> None:
    both = person(Role.CUSTOMER, Role.TELLER)
    assert both.may("home.view")
    assert both.may("payment.take")
    assert not both.may("cut.view")
    with pytest.raises(ValueError, match="no.such.right"):
        both.may("no.such.right")


@pytest.mark.req("R6")
@pytest.mark.parametrize(
    ("login", "address", "refused"), [(4, 0, False), (5, 0, True), (0, 49, False), (0, 50, True)]
)
def test_the_throttle_counts_account_and_address(login: int, address: int, refused: bool) -> None:
    found = rules.refuse_attempt(login_failures=login, address_failures=address)
    assert found is (AccessRefusal.TOO_MANY_TRIES if refused else None)


@pytest.mark.req("R6")
def test_a_session_lives_until_it_rests_too_long_or_is_ended() -> None:
    idle = rules.idle_of([Role.OPERATOR, Role.CUSTOMER])
    assert idle == timedelta(minutes=30), "the strictest of several roles holds"
    assert rules.idle_of([Role.CUSTOMER]) == timedelta(days=30)
    assert rules.idle_of([]) == timedelta(minutes=30)

    def alive(rested: timedelta, ended: datetime | None = None) -> bool:
        return rules.is_alive(seen_wall=NOW - rested, idle=idle, ended_wall=ended, wall_now=NOW)

    assert alive(timedelta(minutes=29))
    assert not alive(timedelta(minutes=30))
    assert not alive(timedelta(0), ended=NOW)


@pytest.mark.req("R6")
@pytest.mark.parametrize(("minutes", "fresh"), [(None, False), (0, True), (4.9, True), (5, False)])
def test_a_step_up_lasts_five_minutes(minutes: float | None, fresh: bool) -> None:
    when = None if minutes is None else NOW - timedelta(minutes=minutes)
    assert rules.is_stepped_up(when, wall_now=NOW) is fresh
