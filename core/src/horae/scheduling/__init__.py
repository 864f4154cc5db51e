"""Running what is due: claim, hand over, settle. Knows nothing of where types come from."""
