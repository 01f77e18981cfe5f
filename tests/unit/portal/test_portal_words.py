"""Five languages as equals: the same keys, the same places, a text for every code."""

import re
from pathlib import Path

import pytest

import billing.bills.model
import billing.payments.model
import billing.prepaid.model
import cloud.control.model
import cloud.cycles.model
import cloud.messages.model
import cloud.vee.model
import cloud.work.model
from billing.prepaid.rules.credit import FIELDS, Level
from billing.prepaid.rules.credit import Refusal as CreditRefusal
from billing.prepaid.rules.watching import WatchReason
from billing.rating.rules.subscribing import SupplyKind
from billing.tariffs.rules.parameters import FIGURES
from cloud.ingest.model import CAUSES, QuarantineState
from portal.auth.model import AccessRefusal, Role
from portal.i18n import LANGUAGES, Words, catalogue
from portal.i18n.catalogue import places
from protocols.reading import Quality

PORTAL = Path(__file__).parents[3] / "portal"


@pytest.mark.req("Q4")
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_text_with_the_same_places(language: str) -> None:
    english, other = catalogue("en"), catalogue(language)
    assert other.keys() == english.keys()
    for key, text in other.items():
        assert text.strip(), f"{language}: {key} is empty"
        assert places(text) == places(english[key]), f"{language}: {key}"


def test_every_text_a_page_names_exists() -> None:
    found = set[str]()
    for file in [*PORTAL.rglob("*.html"), *PORTAL.rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        found |= set(re.findall(r"""\b(?:t|words)\(["']([a-z0-9_.]+[a-z0-9_])["']""", text))
        found |= set(re.findall(r"""flash=["']([a-z0-9_.]+)["']""", text))
    assert len(found) > 150, "the search itself is broken"
    assert found <= catalogue("en").keys(), found - catalogue("en").keys()


def test_every_code_that_reaches_a_page_has_a_text() -> None:
    control, work, cycles = cloud.control.model, cloud.work.model, cloud.cycles.model
    families: dict[str, list[str]] = {
        "refusal": [
            str(code)
            for codes in (
                AccessRefusal, control.Refusal, work.Refusal, billing.payments.model.Refusal,
                billing.prepaid.model.Refusal, cycles.Refusal, CreditRefusal,
            )
            for code in codes
        ],
        "supply": list(control.RelayPosition),
        "request_state": list(control.RequestState),
        "command_state": list(control.CommandState),
        "quality": list(Quality),
        "message": list(cloud.messages.model.Kind),
        "message_state": list(cloud.messages.model.MessageState),
        "order_kind": list(work.OrderKind),
        "order_state": list(work.OrderState),
        "outcome": [str(int(code)) for code in work.VisitOutcome],
        "exception": [*billing.prepaid.model.ExceptionKind, *cloud.vee.model.ExceptionKind],
        "quarantine_cause": [cause for cause, _ in CAUSES.values()],
        "quarantine_state": list(QuarantineState),
        "clock": ["synchronised", "holdover", "untrusted"],
        "stream_told": ["waiting", "silent", "missing_s", "clock"],
        "stream_heat": ["0", "1", "2", "3", "4", "none"],
        "stream_state": ["online", "offline", "unknown"],
        "watch_reason": list(WatchReason),
        "policy_level": list(Level),
        "policy": list(FIELDS),
        "role": list(Role),
        "cycle_state": list(cycles.CycleState),
        "task_state": list(cycles.TaskState),
        "miss": list(cycles.MissCode),
        "observation": list(cycles.Observation),
        "figure_doubt": list(cycles.Doubt),
        "tour": list(Role),
        "run_act": list(billing.bills.model.RunAct),
        "run_outcome": list(billing.bills.model.RunOutcome),
        "figure": list(FIGURES),
        "supply_kind": list(SupplyKind),
    }  # fmt: skip
    words = Words("en")
    lacking = [
        f"{family}.{code}"
        for family, codes in families.items()
        for code in codes
        if not words.has(f"{family}.{code}")
    ]
    assert not lacking


def test_a_missing_key_or_place_is_an_error_not_a_blank() -> None:
    words = Words("fa")
    with pytest.raises(KeyError):
        words("no.such.text")
    with pytest.raises(KeyError):
        words("home.hello")


def test_values_are_filled_in_once() -> None:
    assert "{name}" in Words("en")("home.hello", name="{name}")
