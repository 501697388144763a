"""Chaos over real sockets: whatever the network and the server do, the oracle finds every event where it belongs."""
