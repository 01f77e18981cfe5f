"""The people and companies beside the meters: SMS centre and bank, who repeat and delay."""
