"""A small seeded world in CommonPool's exact format, for the demo, the tests and the benchmarks; no Dagster here."""
