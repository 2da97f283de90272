"""How fast the metrics port answers."""
