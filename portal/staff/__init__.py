"""Office pages: inbox, customers, cut board, work orders, messages, quarantine."""
