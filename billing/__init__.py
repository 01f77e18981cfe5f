"""Money and customers: prices, balances, payments, the road to a cut. Decides; never switches."""
