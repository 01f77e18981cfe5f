"""The one pricing kernel: usage x compiled tariff -> charges, and its oracle."""
