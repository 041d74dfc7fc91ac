"""The web process stays light: no training library comes in by a side door."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "worker", "safetensors", "tokenizers")


def test_the_web_process_imports_no_training_library() -> None:
    program = f"import sys, app.main\nprint([name for name in {HEAVY!r} if name in sys.modules])\n"
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    assert result.stdout.strip() == "[]"
