"""Pure decisions of reading cycles: dates, shares, doubts, files of handhelds."""
