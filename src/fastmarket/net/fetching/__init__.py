"""Fetches contents from their holders: connections, files and the driver of a fetch (asyncio)."""
