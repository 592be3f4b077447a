"""Other job queues, each at its documented best settings, doing what Rota's benchmarks do.

`table.py` lists them. `*_jobs.py` is a peer's own code: its workers import it, and `bench.peers.produce`, in processes of their
own and in an environment of the peer's own, for their requirements contradict each other. They find their broker in the
environment variable that `work.py` names.
"""
