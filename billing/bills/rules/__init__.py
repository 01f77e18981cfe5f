"""Pure decisions of billing: pinned inputs and their price, the hi-low gate, estimates, legs."""
