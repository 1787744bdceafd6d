"""The benchmarks behind the figures in README: `python -m benchmarks`."""
