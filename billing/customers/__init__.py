"""Who pays and on what terms: customers, accounts, service agreements, thresholds."""
