"""TCP on asyncio."""
