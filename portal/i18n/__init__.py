"""The words of the portal: one catalogue file per language, equals of one another."""

from portal.i18n.catalogue import LANGUAGES, RTL, Words, catalogue

__all__ = ["LANGUAGES", "RTL", "Words", "catalogue"]
