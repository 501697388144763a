"""What the tests of an application use: the recorder that stands in for the client, and the plugin of pytest."""
