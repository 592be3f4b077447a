"""The benchmarks: `python -m bench` measures a real `rota serve` on a store of its own and writes RESULTS.md."""
