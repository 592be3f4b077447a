"""Floor 1: durability. A store keeps rows and runs transactions; what a row becomes is decided above it."""
