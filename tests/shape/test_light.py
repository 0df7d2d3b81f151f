"""What serves requests loads neither a tensor library nor an engine."""

import json
import subprocess
import sys

import pytest

HEAVY = {"torch", "transformers", "peft", "accelerate", "sklearn", "scipy", "matplotlib", "nncf", "openvino", "openvino_genai", "numpy"}


@pytest.mark.parametrize(
    "module", ["shoal.wiring.worker", "shoal.wiring.bookkeeper", "shoal.wiring.desk", "shoal.wiring.trainer", "shoal.cli.main"]
)
def test_a_process_of_the_gateway_is_light(module: str) -> None:
    script = f"import sys, json, {module}; print(json.dumps(sorted(name for name in sys.modules if '.' not in name)))"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not HEAVY & set(json.loads(said.stdout))
