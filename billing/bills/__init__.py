"""Bills: a run freezes, doubts, prices, posts and proves them; what was wrong is billed anew."""
