"""Announcing own offers, and keeping them at their storers."""
