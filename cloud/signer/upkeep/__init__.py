"""The signer's judgement of upkeep: settings, firmware and keys, with limits of their own."""
