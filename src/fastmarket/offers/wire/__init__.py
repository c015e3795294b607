"""The messages of the offer protocol, and the verification of offers."""
