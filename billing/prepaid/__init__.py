"""The real-time balance: sweep, drawdown, crossings, why-my-bill."""
