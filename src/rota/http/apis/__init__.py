"""Four older schedulers' APIs, for clients that change nothing but their base URL: thin translations onto the service."""
