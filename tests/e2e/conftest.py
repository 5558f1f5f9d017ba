from __future__ import annotations

from pathlib import Path

import pytest

MODEL_PATH = Path(__file__).parents[2] / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="session")
def model_path() -> Path:
    """The embedded model's file."""
    if not MODEL_PATH.exists():
        pytest.fail(f"the model {MODEL_PATH} is not there; run `scripts/serve` once to fetch it")
    return MODEL_PATH
