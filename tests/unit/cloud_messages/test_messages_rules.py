"""Texts in five languages, numbers that can be dialled, segments, and the way of a message."""

from datetime import datetime
from itertools import product
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.messages.model import (
    MESSAGE_MOVES,
    REQUIRED,
    Kind,
    Language,
    MessageEvent,
    MessageState,
    PhoneProblem,
)
from cloud.messages.rules.backoff import next_pause
from cloud.messages.rules.codes import WORDS
from cloud.messages.rules.phones import canonical, masked, phone_problem
from cloud.messages.rules.text import (
    TemplateError,
    energy,
    money,
    names_in,
    render,
    segments,
)
from cloud.work.model import OrderKind

TEMPLATES = Path(__file__).parents[3] / "cloud/messages/templates"
EVERYTHING = {
    "available_micros": -3_105_000, "amount_micros": 50_000_000, "price_micros": 520_000,
    "currency": "CNY", "receipt": "R-000042", "tier": 3, "year_wh": 2_160_049,
    "usage_point": "UP-000042", "order": "W-000009", "kind_code": "cut_failure",
    "deadline_at": datetime(2026, 6, 3, 9, 5, tzinfo=ZoneInfo("Asia/Shanghai")),
    "days": 3, "number": "4711", "due_at": datetime(2026, 6, 15, tzinfo=ZoneInfo("Asia/Shanghai")),
}  # fmt: skip


def template(kind: Kind, language: Language) -> str:
    return (TEMPLATES / language / f"{kind}.txt").read_text(encoding="utf-8")


@pytest.mark.req("F4")
@pytest.mark.parametrize(("kind", "language"), list(product(Kind, Language)))
def test_every_message_exists_in_every_language_and_says_all_it_must(
    kind: Kind, language: Language
) -> None:
    source = template(kind, language)
    assert names_in(source) == REQUIRED[kind]
    shown = render(source, kind, language, EVERYTHING)
    assert "{" not in shown
    assert segments(shown) <= 4
    for name in REQUIRED[kind]:
        with pytest.raises(TemplateError, match=name):
            render(source, kind, language, {k: v for k, v in EVERYTHING.items() if k != name})


def test_no_stray_file_and_none_is_missing() -> None:
    found = {path.relative_to(TEMPLATES).as_posix() for path in TEMPLATES.rglob("*.txt")}
    assert found == {f"{language}/{kind}.txt" for kind, language in product(Kind, Language)}


def test_texts_as_a_person_reads_them() -> None:
    def shown(kind: Kind, language: Language) -> str:
        return render(template(kind, language), kind, language, EVERYTHING)

    assert shown(Kind.DUNNING, Language.EN).startswith("Your electricity balance is -3.11 CNY.")
    assert "余额为-3.11 CNY" in shown(Kind.DUNNING, Language.ZH)
    assert "-3,11 CNY" in shown(Kind.DUNNING, Language.RU)
    assert "\u2068-۳٫۱۱\u2069" in shown(Kind.DUNNING, Language.FA)
    assert "2026-06-03 09:05" in shown(Kind.CUT_NOTICE, Language.UZ)
    assert "۲۰۲۶-۰۶-۰۳ ۰۹:۰۵" in shown(Kind.CUT_NOTICE, Language.FA)
    assert "2,160.0 kWh" in shown(Kind.TIER_REACHED, Language.EN)
    assert "2 160,0 kVt.soat" in shown(Kind.TIER_REACHED, Language.UZ)


@pytest.mark.parametrize(
    ("micros", "english"),
    [
        (0, "0.00"), (4_999, "0.00"), (5_000, "0.01"), (-4_999, "0.00"), (-5_000, "-0.01"),
        (1_234_567_890_000, "1,234,567.89"), (-999_995_000, "-1,000.00"),
    ],
)  # fmt: skip
def test_money_is_rounded_half_up_and_never_minus_nothing(micros: int, english: str) -> None:
    assert money(micros, Language.EN) == english


@given(st.integers(-(10**15), 10**15), st.sampled_from(list(Language)))
def test_money_keeps_its_value_in_every_language(micros: int, language: Language) -> None:
    text = money(micros, language)
    latin = text.translate(str.maketrans("۰۱۲۳۴۵۶۷۸۹", "0123456789"))
    digits = "".join(letter for letter in latin if letter.isdigit())
    cents = -int(digits) if latin.startswith("-") else int(digits)
    assert abs(cents * 10_000 - micros) <= 5_000


def test_energy_shows_tenths_of_a_kilowatt_hour() -> None:
    assert energy(49, Language.EN) == "0.0"
    assert energy(50, Language.EN) == "0.1"
    assert energy(1_234_567, Language.RU) == "1 234,6"


def test_a_variable_the_kind_does_not_have_is_a_bug() -> None:
    with pytest.raises(TemplateError, match="receipt"):
        render("{receipt}", Kind.SUPPLY_CUT, Language.EN, EVERYTHING)
    naive = {**EVERYTHING, "deadline_at": datetime(2026, 6, 3)}
    with pytest.raises(TemplateError, match="aware"):
        render(template(Kind.CUT_NOTICE, Language.EN), Kind.CUT_NOTICE, Language.EN, naive)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a" * 160, 1), ("a" * 161, 2), ("a" * 306, 2), ("a" * 307, 3), ("€" * 80, 1),
        ("€" * 81, 2), ("停" * 70, 1), ("停" * 71, 2), ("so'm", 1), ("so\u2018m" * 14, 1),
        ("so\u2018m" * 18, 2), ("🔌" * 35, 1), ("🔌" * 36, 2),
    ],
)  # fmt: skip
def test_segments_as_the_network_counts_them(text: str, count: int) -> None:
    assert segments(text) == count


def test_uzbek_texts_stay_in_the_small_alphabet() -> None:
    for kind in Kind:
        assert "\u2018" not in template(kind, Language.UZ)
        assert template(kind, Language.UZ).isascii()


@pytest.mark.req("F11")
@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("+8613800000042", None), ("+998 90 111-22-33", None), ("+98 (912) 345 6789", None),
        ("", PhoneProblem.EMPTY), ("   ", PhoneProblem.EMPTY),
        ("+13812a45678", PhoneProblem.LETTERS), ("+۸۶۱۳۸۰۰۰۰۰۰۴۲", PhoneProblem.LETTERS),
        ("+86138", PhoneProblem.TOO_SHORT), ("12345", PhoneProblem.TOO_SHORT),
        ("13800000042", PhoneProblem.NO_COUNTRY), ("+999000000000", PhoneProblem.NO_COUNTRY),
        ("+861380000004211111111", PhoneProblem.TOO_LONG),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_dialled_say_why(raw: str, problem: PhoneProblem | None) -> None:
    assert phone_problem(raw) == problem


@given(st.text(max_size=30))
def test_any_text_is_judged_and_what_passes_can_be_written(raw: str) -> None:
    if phone_problem(raw) is None:
        assert canonical(raw).startswith("+")


def test_a_number_that_is_shown_is_masked() -> None:
    assert masked("+8613800000042") == "+86…42"
    assert masked("+1") == "…"


def test_pauses_double_up_to_a_minute() -> None:
    assert [next_pause(n) for n in (0, 1, 2, 7, 50)] == [0.5, 1.0, 2.0, 60.0, 60.0]


@pytest.mark.parametrize(("state", "event"), list(product(MessageState, MessageEvent)))
def test_every_pair_of_the_message(state: MessageState, event: MessageEvent) -> None:
    expected = {
        "queued": {"accepted": "sent", "delivered": "delivered", "failed": "failed"},
        "sent": {"delivered": "delivered", "failed": "failed"},
        "paper": {"printed": "printed"},
    }.get(state.value, {})
    found = MESSAGE_MOVES.get((state, event))
    assert (found.value if found else None) == expected.get(event.value)


def test_every_kind_of_work_order_has_words_in_every_language() -> None:
    kinds = {kind.value for kind in OrderKind}
    assert {language: set(words) for language, words in WORDS.items()} == dict.fromkeys(
        Language, kinds
    )


def test_a_count_stands_in_the_digits_of_its_language() -> None:
    shown = render(
        template(Kind.TIER_REACHED, Language.FA), Kind.TIER_REACHED, Language.FA, EVERYTHING
    )
    assert "پله ۳" in shown
    assert not set(shown) & set("0123456789")
