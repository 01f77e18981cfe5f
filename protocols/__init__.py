"""What parties say to one another: pure, total, no I/O and no clock."""
