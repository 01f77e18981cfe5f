"""The words of a bill in five languages; numbers and dates as each of them writes."""

from collections.abc import Mapping
from datetime import date

from protocols.persian import persian_of

WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "title": "Electricity bill", "cycle": "Periodic bill", "trueup": "Bill after estimates",
        "adhoc": "Ad-hoc bill", "adhoc_special": "Special ad-hoc bill",
        "corrective_meter": "Corrective bill: meter error",
        "corrective_reading": "Corrective bill: reading error", "rerun": "Bill priced anew",
        "refund": "Refund", "supplement": "Supplementary bill", "final": "Final bill",
        "number": "Bill no.", "customer": "Customer", "account": "Account",
        "usage_point": "Supply point", "period": "Period", "issued": "Issued", "due": "Pay by",
        "register_from": "Register at start", "register_to": "Register at end", "energy": "Use",
        "line": "Item", "quantity": "Quantity", "price": "Price", "amount": "Amount",
        "total": "Total", "drawn": "Drawn from your balance", "to_pay": "To pay",
        "step": "step", "estimated": "This bill is estimated: the meter could not be read.",
        "replaces": "It takes the place of bill no.", "reason": "Reason", "tariff": "Tariff",
        "rounding": "Rounding", "kwh": "kWh", "from_to": "{start} to {last}",
        "credit": "To your credit",
    },
    "ru": {
        "title": "Счёт за электроэнергию", "cycle": "Периодический счёт",
        "trueup": "Счёт после расчётных", "adhoc": "Внеочередной счёт",
        "adhoc_special": "Особый внеочередной счёт",
        "corrective_meter": "Исправленный счёт: ошибка прибора учёта",
        "corrective_reading": "Исправленный счёт: ошибка снятия показаний",
        "rerun": "Пересчитанный счёт", "refund": "Возврат", "supplement": "Дополнительный счёт",
        "final": "Окончательный счёт",
        "number": "Счёт №", "customer": "Потребитель",
        "account": "Лицевой счёт", "usage_point": "Точка учёта", "period": "Период",
        "issued": "Выставлен", "due": "Оплатить до", "register_from": "Показания на начало",
        "register_to": "Показания на конец", "energy": "Расход", "line": "Начисление",
        "quantity": "Количество", "price": "Цена", "amount": "Сумма", "total": "Итого",
        "drawn": "Списано с баланса", "to_pay": "К оплате", "step": "ступень",
        "estimated": "Счёт расчётный: показания прибора учёта снять не удалось.",
        "replaces": "Заменяет счёт №", "reason": "Основание", "tariff": "Тариф",
        "rounding": "Округление", "kwh": "кВт·ч", "from_to": "{start} – {last}",
        "credit": "В вашу пользу",
    },
    "uz": {
        "title": "Elektr energiyasi uchun hisob", "cycle": "Davriy hisob",
        "trueup": "Taxminiydan keyingi hisob", "adhoc": "Navbatdan tashqari hisob",
        "adhoc_special": "Maxsus navbatdan tashqari hisob",
        "corrective_meter": "Tuzatilgan hisob: hisoblagich xatosi",
        "corrective_reading": "Tuzatilgan hisob: ko‘rsatkich xatosi",
        "rerun": "Qayta hisoblangan hisob", "refund": "Qaytarish",
        "supplement": "Qo‘shimcha hisob", "final": "Yakuniy hisob",
        "number": "Hisob №", "customer": "Iste’molchi", "account": "Shaxsiy hisob",
        "usage_point": "Hisobga olish nuqtasi", "period": "Davr", "issued": "Berilgan sana",
        "due": "To‘lov muddati", "register_from": "Boshlang‘ich ko‘rsatkich",
        "register_to": "Oxirgi ko‘rsatkich", "energy": "Sarf", "line": "Hisoblangan",
        "quantity": "Miqdor", "price": "Narx", "amount": "Summa", "total": "Jami",
        "drawn": "Balansdan yechilgan", "to_pay": "To‘lanadi", "step": "pog‘ona",
        "estimated": "Hisob taxminiy: hisoblagich ko‘rsatkichini olib bo‘lmadi.",
        "replaces": "O‘rniga beriladi: hisob №", "reason": "Asos", "tariff": "Tarif",
        "rounding": "Yaxlitlash", "kwh": "kVt·soat", "from_to": "{start} – {last}",
        "credit": "Sizning foydangizga",
    },
    "zh": {
        "title": "电费账单", "cycle": "周期账单", "trueup": "估算后结算账单",
        "adhoc": "临时账单", "adhoc_special": "特殊临时账单",
        "corrective_meter": "更正账单：表计误差", "corrective_reading": "更正账单：抄表差错",
        "rerun": "重新计算的账单", "refund": "退费", "supplement": "补收账单", "final": "终结账单",
        "number": "账单号", "customer": "客户", "account": "户号",
        "usage_point": "用电点", "period": "账期", "issued": "出账日期", "due": "缴费截止",
        "register_from": "期初示数", "register_to": "期末示数", "energy": "用电量",
        "line": "项目", "quantity": "数量", "price": "单价", "amount": "金额",
        "total": "合计", "drawn": "已从余额扣除", "to_pay": "应缴金额", "step": "阶梯",
        "estimated": "本账单为估算：未能抄到电表示数。", "replaces": "替代账单号",
        "reason": "原因", "tariff": "电价", "rounding": "尾差", "kwh": "千瓦时",
        "from_to": "{start} 至 {last}", "credit": "应退金额",
    },
    "fa": {
        "title": "صورتحساب برق", "cycle": "صورتحساب دوره‌ای",
        "trueup": "صورتحساب پس از برآورد", "adhoc": "صورتحساب میان‌دوره",
        "adhoc_special": "صورتحساب میان‌دوره ویژه",
        "corrective_meter": "صورتحساب اصلاحی: خطای کنتور",
        "corrective_reading": "صورتحساب اصلاحی: خطای قرائت",
        "rerun": "صورتحساب بازمحاسبه‌شده", "refund": "استرداد",
        "supplement": "صورتحساب مکمل", "final": "صورتحساب پایانی",
        "number": "شماره صورتحساب", "customer": "مشترک", "account": "شماره اشتراک",
        "usage_point": "نقطه مصرف", "period": "دوره", "issued": "تاریخ صدور",
        "due": "مهلت پرداخت", "register_from": "رقم پیشین", "register_to": "رقم کنونی",
        "energy": "مصرف", "line": "شرح", "quantity": "مقدار", "price": "نرخ",
        "amount": "مبلغ", "total": "جمع", "drawn": "برداشت‌شده از موجودی",
        "to_pay": "قابل پرداخت", "step": "پله",
        "estimated": "این صورتحساب برآوردی است: قرائت کنتور ممکن نشد.",
        "replaces": "جایگزین صورتحساب شماره", "reason": "علت", "tariff": "تعرفه",
        "rounding": "گردکردن", "kwh": "کیلووات‌ساعت", "from_to": "{start} تا {last}",
        "credit": "بستانکاری شما",
    },
}  # fmt: skip

_PERSIAN_DIGITS = str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹")
_SIGNS: Mapping[str, tuple[str, str]] = {
    "fa": ("٬", "٫"), "zh": (",", "."), "uz": (" ", ","), "ru": (" ", ","), "en": (",", "."),
}  # fmt: skip
"""Thousands and decimal sign. *Source*: CLDR 47."""


def number(text: str, language: str) -> str:
    """Return a plain exact decimal text as the language writes it."""
    sign = "-" if text.startswith("-") else ""
    whole, _, part = text.lstrip("-").partition(".")
    thousands, point = _SIGNS[language]
    shown = f"{sign}{int(whole):,}".replace(",", thousands) + (f"{point}{part}" if part else "")
    if language != "fa":
        return shown
    # the sign belongs before the digits, whichever way the line runs
    return f"\u2066{shown}\u2069".translate(_PERSIAN_DIGITS) if sign else digits(shown, "fa")


def digits(text: str, language: str) -> str:
    """Return a plain number that is no amount, such as a bill's, in the language's digits."""
    return text.translate(_PERSIAN_DIGITS) if language == "fa" else text


def day(when: date, language: str) -> str:
    """Return a civil day: in Persian by the Persian calendar, else as its people write it."""
    if language == "fa":
        persian = persian_of(when)
        return digits(f"{persian.year}/{persian.month:02}/{persian.day:02}", "fa")
    if language in ("ru", "uz"):
        return f"{when:%d.%m.%Y}"
    return when.isoformat()
