"""One setting that every test with an event loop needs."""

import asyncio

# Without this pytest-asyncio asks for "the current loop" before its first own one, which Python makes and
# nobody closes: a ResourceWarning in whatever test runs when the collector finds it.
asyncio.set_event_loop(None)
