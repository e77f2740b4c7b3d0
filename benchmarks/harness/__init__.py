"""What the benchmarks share: generated data, a process of its own for what is measured, and the verdict."""
