"""Field jobs: raised, assigned, done, verified."""
