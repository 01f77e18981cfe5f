"""The crew's phone: today's orders and the report of a visit."""
