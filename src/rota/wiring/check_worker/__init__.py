"""The conformance kit of the worker protocol (docs/worker-protocol.md): a private server with faults, and the checks."""
