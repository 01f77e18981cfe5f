"""Self service: a customer's own supply, money and history."""
