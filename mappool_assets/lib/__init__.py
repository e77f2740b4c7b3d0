"""The craft: what the assets do, without Dagster, environment variables, clocks or global random state.

Numerical modules (``decision``, ``evaluation``, ``row_rules`` …) work on arrays and never
import those that touch the world (``lake``, ``ranged_file``, ``pool``, ``npz``, ``web_fetch``, ``encoder`` …).
"""
