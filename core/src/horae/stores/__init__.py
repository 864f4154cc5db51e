"""Where scheduled events live: one protocol, a database behind it."""
