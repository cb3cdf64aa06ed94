"""The kernel: synchronous, deterministic, free of I/O."""
