"""Signed commands come down here: admitted, confirmed, carried out, and told of."""
