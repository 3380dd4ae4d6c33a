"""Talking to a fastdag service from Python: `Client`, and `AsyncClient` for asyncio."""
