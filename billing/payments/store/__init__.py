"""SQL of payments: posted rows, announced payments, and what settles them."""
