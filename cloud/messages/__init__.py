"""What customers and crews are told: templates in five languages, an outbox, delivery."""
