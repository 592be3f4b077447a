"""The PostgreSQL store: one database, any number of servers."""
