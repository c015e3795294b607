"""How offers are found."""
