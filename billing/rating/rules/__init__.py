"""Pure pricing: compiler with bound proof, vector kernel, scalar oracle."""
