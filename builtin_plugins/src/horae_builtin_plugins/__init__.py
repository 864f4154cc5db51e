"""The schedule kinds that come with horae: a plugin like any other."""
