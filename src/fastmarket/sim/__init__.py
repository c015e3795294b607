"""Large networks in virtual time: the shipped engine and offer protocol, a seeded network around them."""
