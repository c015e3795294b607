"""Large networks in virtual time: the shipped engine and offer protocol in a seeded, simulated network."""
