"""The sandbox is judged here: over real sockets, against the documentation, without the client."""
