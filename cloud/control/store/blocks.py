"""The named SQL blocks of control, and the database's own refusals by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from cloud.control.model import Refusal
from cloud.store.sql import Queries
from protocols.errors import RefusedError

SQL = Queries(Path(__file__).parent.parent / "sql")

_REFUSAL_OF_CONSTRAINT = {
    "control_protected": Refusal.PROTECTED_CUSTOMER,
    "control_keeps_power": Refusal.KEEPS_POWER,
    "control_not_its_turn": Refusal.COMMAND_OPEN,
    "control_epoch": Refusal.PAYMENT_REGISTERED,
    "control_hold": Refusal.ON_HOLD,
    "control_halted": Refusal.HALTED,
    "control_not_approved": Refusal.NOT_APPROVED,
    "control_command_open": Refusal.COMMAND_OPEN,
    "control_no_supply": Refusal.UNKNOWN_SUPPLY,
    "control_wrong_role": Refusal.BACKSTOP,
    "control_no_challenge": Refusal.WRONG_STATE,
    "control_unsigned": Refusal.NOT_APPROVED,
    "control_rewrite": Refusal.BACKSTOP,
    "control_epoch_falls": Refusal.BACKSTOP,
    "approval_not_requester": Refusal.SAME_PERSON,
    "approval_two_people": Refusal.SAME_PERSON,
    "approval_pk": Refusal.SAME_PERSON,
    "approval_by_person": Refusal.NOT_A_PERSON,
    "request_one_open": Refusal.REQUEST_OPEN,
    "keep_release_one_open": Refusal.REQUEST_OPEN,
    "keep_release_two_people": Refusal.SAME_PERSON,
    "keep_release_by_people": Refusal.NOT_A_PERSON,
    "keep_release_reasoned": Refusal.NO_REASON,
    "keep_release_supply": Refusal.UNKNOWN_SUPPLY,
    "command_of_release": Refusal.COMMAND_OPEN,
    "token_given_once": Refusal.TOKEN_REPEATED,
    "token_key_once": Refusal.KEY_REUSED,
    "token_octets": Refusal.TOKEN_SHAPE,
    "token_kind_known": Refusal.TOKEN_SHAPE,
    "token_supply": Refusal.UNKNOWN_SUPPLY,
    "command_one_open": Refusal.COMMAND_OPEN,
    "command_nonce": Refusal.BACKSTOP,
    "go_nonce_unique": Refusal.BACKSTOP,
}


@contextmanager
def refusals() -> Iterator[None]:
    """
    Turn a named constraint of this schema into the refusal that it stands for.

    Raises: RefusedError. The transaction is broken then: let it roll back.
    """
    try:
        yield
    except psycopg.IntegrityError as error:
        refusal = _REFUSAL_OF_CONSTRAINT.get(error.diag.constraint_name or "")
        if refusal is None:
            raise
        raise RefusedError(refusal, error.diag.message_primary or refusal.value) from error
