"""Floor 2: what runs jobs. Knows `core` and the work queue's protocol, and nothing of stores, services or HTTP."""
