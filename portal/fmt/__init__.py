"""Text for people from integers and instants: the only place that knows digits and calendars."""

from portal.fmt.reader import Reader, plain_digits
from protocols.persian import PersianDate, persian_of

__all__ = ["PersianDate", "Reader", "persian_of", "plain_digits"]
