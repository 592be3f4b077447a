"""`make bench-quick`: has something become slower? Processor time beside a bare loop of the same run, and bytecodes counted."""
