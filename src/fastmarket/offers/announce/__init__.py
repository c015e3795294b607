"""How own offers reach their storers, and stay there."""
