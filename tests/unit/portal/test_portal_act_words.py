"""Every act that the audit log may hold and every state of money has words in five languages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from billing.accounting.model import Event, Source, State
from billing.accounting.model import Refusal as AccountingRefusal
from billing.bills.model import Decision, RunAct
from billing.payments.model import ChangeOutcome, HoldState, PaymentState
from billing.payments.service.proposals import End
from billing.tariffs.model.proposed import ProposalEnd
from portal.i18n import LANGUAGES, Words

ROOT = Path(__file__).parents[3]
ACT = re.compile(r"^[a-z]+\.[a-z_]+(\.[a-z]+)?$")


def texts(node: ast.expr) -> Iterator[str]:
    """Yield the plain texts an expression may be; parts of a longer text are none."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp(body=body, orelse=orelse):
            yield from texts(body)
            yield from texts(orelse)


def acts() -> set[str]:
    """Return the acts that code names: as `action=`, or handed to what records one for it."""
    found = set[str]()
    for file in [*(ROOT / "billing").rglob("*.py"), *(ROOT / "cloud").rglob("*.py"),
                 *(ROOT / "portal").rglob("*.py")]:  # fmt: skip
        calls = [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
                 if isinstance(node, ast.Call)]  # fmt: skip
        given = [key.value for call in calls for key in call.keywords if key.arg == "action"]
        found |= {text for value in given for text in texts(value)}
        if any(isinstance(value, ast.Name) for value in given):
            handed = [
                value
                for call in calls
                if isinstance(call.func, ast.Name) and call.func.id.startswith("_")
                for value in (*call.args, *(key.value for key in call.keywords))
            ]
            found |= {text for value in handed for text in texts(value) if ACT.match(text)}
    return found


MADE = {
    *(f"accounting.{event}" for event in (Event.TAKE, Event.SETTLE, Event.DISMISS)),
    *(f"bills.order_{act}" for act in RunAct), *(f"bills.{said}" for said in Decision),
    *(f"tariffs.{end}" for end in ProposalEnd),
    *(f"payments.{state}" for state in (PaymentState.POSTED, PaymentState.SUSPENSE,
                                        HoldState.RELEASED, HoldState.REVERSED)),
    *(f"payments.suspense_{end}" for end in (End.ASSIGNED, End.RETURNED)),
    *(f"payments.change_{said}" for said in ChangeOutcome if said is not ChangeOutcome.WAITS),
}  # fmt: skip
"""Acts whose names are put together; the search finds the rest."""


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_act_has_words(language: str) -> None:
    found = acts()
    assert {"tariffs.freeze", "tariffs.lift_freeze", "bills.cancel", "payments.held",
            "control.halt", "control.resume"} <= found, "the search itself is broken"  # fmt: skip
    words = Words(language)
    assert not [act for act in sorted(found | MADE) if not words.has(f"action.{act}")]


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_of_money_has_words(language: str) -> None:
    families = {
        "payment_state": PaymentState, "settle_end": End, "books_state": State,
        "books_source": Source, "books_event": Event, "refusal": AccountingRefusal,
    }  # fmt: skip
    words = Words(language)
    assert not [
        f"{family}.{code}"
        for family, codes in families.items()
        for code in codes
        if not words.has(f"{family}.{code}")
    ]
