"""Who lives in the demo town: two hundred made-up customers in four languages, and the staff."""

from dataclasses import dataclass

_NAMES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "fa": (
        ("مریم", "رضا", "سارا", "علی", "نگین", "حسین", "لیلا", "امیر", "زهرا", "کاوه"),
        ("رستمی", "احمدی", "کریمی", "موسوی", "نوری", "صادقی", "شریفی", "یزدانی"),
    ),
    "zh": (
        ("伟", "芳", "娜", "敏", "静", "强", "磊", "洋", "艳", "勇"),
        ("王", "李", "张", "刘", "陈", "杨", "黄", "赵"),
    ),
    "uz": (
        ("Aziza", "Bekzod", "Dilnoza", "Jasur", "Kamola", "Otabek", "Sevara", "Ulugʻbek"),
        ("Karimov", "Rahimova", "Toshmatov", "Yusupova", "Nazarov", "Ismoilova", "Saidov"),
    ),
    "ru": (
        ("Анна", "Борис", "Вера", "Глеб", "Дарья", "Егор", "Инна", "Павел"),
        ("Орлова", "Соколов", "Лебедева", "Морозов", "Зайцева", "Волков", "Белова"),
    ),
}
_LANGUAGES = ("fa", "zh", "uz", "ru")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A made-up customer. `phone` is empty for the few who have none, or wrong for one."""

    name: str
    language: str
    phone: str


def person(number: int) -> Person:
    """Return the customer behind meter `number`; the same at every start."""
    if number == 42:
        return Person(name="مریم رستمی", language="fa", phone="+989121000042")
    if number == 43:
        return Person(name="Nigora Saidova", language="uz", phone="+998901000043")
    if number == 77:
        return Person(name="Jasur Nazarov", language="uz", phone="+998901000077")
    if number == 60:
        return Person(name="Aziza Karimova", language="uz", phone="+998901000060")
    if number == 88:
        return Person(name="渝北医院", language="zh", phone="+8613800000088")
    language = _LANGUAGES[number % len(_LANGUAGES)]
    given, family = _NAMES[language]
    first, last = given[number * 7 % len(given)], family[number * 3 % len(family)]
    name = f"{last}{first}" if language == "zh" else f"{first} {last}"
    return Person(name=name, language=language, phone=_phone(number, language))


def _phone(number: int, language: str) -> str:
    if number == 131:
        return "13812a45678"  # letters: lands on the list of invalid numbers (F11)
    if number % 40 == 17:
        return ""  # none: gets paper (I6)
    match language:
        case "fa":
            return f"+98912{1_000_000 + number}"
        case "zh":
            return f"+86138{10_000_000 + number}"
        case "uz":
            return f"+99890{1_000_000 + number}"
        case _:
            return f"+7916{1_000_000 + number}"
