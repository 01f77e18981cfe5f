"""Codes that stand in messages, in the words of each language."""

from collections.abc import Mapping

from cloud.messages.model import Language

WORDS: Mapping[Language, Mapping[str, str]] = {
    Language.EN: {
        "cut_failure": "remote cut failed, cut on site",
        "restore_failure": "remote reconnect failed, restore on site",
        "meter_silent": "meter is silent",
        "exception": "inspect the meter",
    },
    Language.FA: {
        "cut_failure": "قطع از راه دور انجام نشد، در محل قطع شود",
        "restore_failure": "وصل از راه دور انجام نشد، در محل وصل شود",
        "meter_silent": "کنتور پاسخ نمی‌دهد",
        "exception": "کنتور بازرسی شود",
    },
    Language.ZH: {
        "cut_failure": "远程停电失败，请现场停电",
        "restore_failure": "远程复电失败，请现场复电",
        "meter_silent": "电表无应答",
        "exception": "请检查电表",
    },
    Language.UZ: {
        "cut_failure": "masofadan uzilmadi, joyida uzing",
        "restore_failure": "masofadan ulanmadi, joyida ulang",
        "meter_silent": "hisoblagich javob bermayapti",
        "exception": "hisoblagichni tekshiring",
    },
    Language.RU: {
        "cut_failure": "дистанционно отключить не удалось, отключите на месте",
        "restore_failure": "дистанционно включить не удалось, включите на месте",
        "meter_silent": "счётчик молчит",
        "exception": "проверьте счётчик",
    },
}
"""The kinds of work orders; every language has every code (a test compares them)."""
