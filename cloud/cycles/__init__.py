"""Reading cycles: routes, timetables, lists, readers, entries by hand, review and closing."""
