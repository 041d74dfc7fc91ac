"""Write requirements/*.txt: every dependency pinned with its hashes, by `make lock`.

torch and the CUDA libraries that its Linux wheel asks for are left out. They are installed beside
the lock as `torch==<pin>`, so that pip takes a CPU build where one is offered and the CUDA build
on an ordinary GPU host; a hash would bind everybody to one of the two.
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {"web": [], "worker": ["worker"], "dev": ["worker", "test", "check"]}
_LEFT_TO_TORCH = re.compile(r"^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)==")
_HEADER = "# Written by `make lock`; torch is installed beside it, see scripts/lock.py for why.\n"


def compile_group(extras: list[str]) -> str:
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"]
    command += ["--generate-hashes", "--no-header", "--no-annotate", "--python-version", "3.11"]
    command += ["pyproject.toml", "requirements/build.in"]
    for extra in extras:
        command += ["--extra", extra]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def without_torch(lock: str) -> str:
    blocks = re.split(r"\n(?=[A-Za-z0-9])", lock.strip())
    return "\n".join(block for block in blocks if not _LEFT_TO_TORCH.match(block)) + "\n"


def main() -> None:
    for name, extras in GROUPS.items():
        path = ROOT / "requirements" / f"{name}.txt"
        path.write_text(_HEADER + without_torch(compile_group(extras)), encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
