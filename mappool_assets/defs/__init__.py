"""What is Dagster's: keys, dependencies, partitions, metadata, checks, automation. The craft is in ``lib``."""
