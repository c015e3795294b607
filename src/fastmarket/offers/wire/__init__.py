"""The offer protocol's messages, and the verification of what arrives."""
