"""A large adapter is sent without memory for it."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.run_folders import REPOSITORY

_STREAM = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from app.adapters.bundle import Bundle
from app.adapters.model_card import BaseFacts, CardFacts
from app.runs.recipe import Recipe
folder, target = Path(sys.argv[1]), Path(sys.argv[2])
recipe = Recipe.model_validate_json(sys.argv[3])
base = BaseFacts("Base", "hub", "someone/base", None, "f", "MIT", "float32")
card = CardFacts("P", "", 1, datetime.now(UTC), base, recipe, 9, 0, "s", "a", None, None, "No.")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with target.open("wb") as file:
    for piece in Bundle("p-v1", folder, card).stream():
        file.write(piece)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_half_a_gigabyte_takes_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    size = 520 * 1024**2
    with (folder / "adapter_model.safetensors").open("wb") as file:
        file.truncate(size)
    (folder / "adapter_config.json").write_text("{}")
    recipe = {
        "preset": "quick",
        "base_model_id": "b",
        "base_model_name": "Base",
        "base_model_folder": "/b",
        "base_model_fingerprint": "f",
        "snapshot_sha256": "0" * 64,
        "rank": 8,
        "alpha": 16,
        "learning_rate": 0.001,
        "epochs": 1,
        "examples_per_update": 8,
        "max_tokens_per_example": 512,
    }
    target = tmp_path / "out.zip"
    done = subprocess.run(
        [sys.executable, "-c", _STREAM, str(folder), str(target), json.dumps(recipe)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 24
    with zipfile.ZipFile(target) as bundle:
        assert bundle.getinfo("p-v1/adapter_model.safetensors").file_size == size
