"""Plugins coming and going: discover, load, publish; withdraw, drain, purge. Knows no engine."""
