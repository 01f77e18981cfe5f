"""COSEM interface classes: what attributes and methods mean, apart from how they travel."""
