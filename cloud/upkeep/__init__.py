"""Care of agents and meters from afar: rollouts of settings, firmware and keys."""
