"""The benchmark of the service, for a second."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "serve.py"


def test_many_clients_get_answers_and_no_error():
    options = ("--rows", "3000", "--clients", "4", "--seconds", "1")
    ran = subprocess.run([sys.executable, str(BENCHMARK), *options], capture_output=True, text=True, timeout=120)
    claims = {claim["claim"]: claim["figure"] for line in ran.stdout.splitlines() if line.startswith("{")
              for claim in [json.loads(line)]}  # fmt: skip
    assert set(claims) == {"serve_without_error", "serve_memory_flat", "serve_memory", "serve_p95"}, ran.stderr
    assert claims["serve_without_error"] == 1
