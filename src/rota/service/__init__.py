"""Floor 2: what happens to jobs. The only caller of the store; one method is one transaction."""
