"""How fast it is, beside what one would take instead: `uv run python -m tests.benchmarks.NAME [--json]`."""
