"""Text for people from integers and instants: the only place that knows digits and calendars."""

from portal.fmt.calendars import PersianDate, persian_of
from portal.fmt.reader import Reader, plain_digits

__all__ = ["PersianDate", "Reader", "persian_of", "plain_digits"]
