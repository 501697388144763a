"""The client as its users meet it: over a real socket, against the sandbox, on asyncio and trio."""
