"""Checkpoints that are whole or are not there.

A checkpoint is written to `.tmp-<step>-<fence>`, each file is flushed to the disk, the manifest
with the SHA-256 of each comes last, and only then does the folder get its name. Whoever reads
takes the newest one whose every file matches its manifest, and falls back to the one before.
No pickle: tensors are safetensors, the rest is JSON.
"""

import hashlib
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load, save

from app.storage.durable import (
    sync_folder,
    write_durably,
)
from worker.training.failures import disk_full
from worker.training.stopping import StoppedError

_MANIFEST: Final = "manifest.json"
_STATE: Final = "state.json"
_FENCE_FILE: Final = "fence"
_NAME: Final = re.compile(r"step-(\d{8})")
_KEPT: Final = 2

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint's contents.

    Attributes:
        tensors: by file, such as "adapter", then by name.
        state: everything else.
        skipped: names of newer folders that did not match their manifest.
    """

    step: int
    folder: Path
    tensors: dict[str, Tensors]
    state: dict[str, Any]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True)
class Published:
    folder: str
    manifest_sha256: str


class CheckpointFolder:
    """The checkpoints of one run, written under one fence."""

    def __init__(self, run_folder: Path, fence: int) -> None:
        self.folder = run_folder / "checkpoints"
        self._fence = fence

    def take_over(self) -> None:
        """Put up this fence, and sweep away what earlier holders left half written.

        Raises:
            StoppedError: if a later holder was here already.
        """
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._require_fence()
        temporary = self.folder / f".{_FENCE_FILE}-{self._fence}"
        write_durably(temporary, str(self._fence).encode())
        temporary.replace(self.folder / _FENCE_FILE)
        sync_folder(self.folder)
        for leftover in self.folder.glob(".tmp-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def temporary(self, name: str) -> Path:
        """Return a place for what nobody needs after this process; the next holder sweeps it."""
        return self.folder / f".tmp-{name}-{self._fence}"

    def save(
        self, step: int, tensors: dict[str, Tensors], state: dict[str, Any], best_step: int | None
    ) -> Published:
        """Write a checkpoint, publish it, and let go of those that are no longer needed.

        Raises:
            TrainingFailureError: if the disk has no room; earlier checkpoints are unharmed.
            StoppedError: if a later holder has taken over.
        """
        contents = {f"{name}.safetensors": save(part) for name, part in tensors.items()}
        contents[_STATE] = json.dumps(state).encode()
        self._require_room(2 * sum(len(content) for content in contents.values()))
        temporary = self.temporary(str(step))
        try:
            manifest_sha256 = self._write(temporary, contents, step, best_step)
        except OSError:
            # What was written so far only takes the room that is missing.
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._require_fence()
        target = self.folder / f"step-{step:08d}"
        if target.exists():
            # A damaged one of the same step, which this run fell back behind.
            stale = self.folder / f".tmp-stale-{step}-{self._fence}"
            target.rename(stale)
            shutil.rmtree(stale, ignore_errors=True)
        temporary.rename(target)
        sync_folder(self.folder)
        self._remove_old()
        return Published(target.name, manifest_sha256)

    def _write(
        self, folder: Path, contents: dict[str, bytes], step: int, best_step: int | None
    ) -> str:
        """Write the files and then their manifest; return the manifest's SHA-256."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700)
        manifest = {
            "format": 1,
            "step": step,
            "fence": self._fence,
            "best_step": best_step,
            "files": {
                name: {"bytes": len(content), "sha256": write_durably(folder / name, content)}
                for name, content in contents.items()
            },
        }
        digest = write_durably(folder / _MANIFEST, json.dumps(manifest).encode())
        sync_folder(folder)
        return digest

    def load_newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that matches its manifest, or None."""
        skipped: list[str] = []
        for folder in self._newest_first():
            checkpoint = self.load(folder)
            if checkpoint is not None:
                return Checkpoint(
                    checkpoint.step,
                    folder,
                    checkpoint.tensors,
                    checkpoint.state,
                    tuple(skipped),
                )
            skipped.append(folder.name)
        return None

    def discard_all(self) -> None:
        """Let go of all checkpoints, the newest first: what is left is always a beginning."""
        for folder in self._newest_first():
            self._discard(folder)

    def load_step(self, step: int) -> Checkpoint | None:
        return self.load(self.folder / f"step-{step:08d}")

    @staticmethod
    def load(folder: Path) -> Checkpoint | None:
        """Return a checkpoint's contents, or None if anything differs from its manifest."""
        try:
            manifest = json.loads((folder / _MANIFEST).read_bytes())
            contents: dict[str, bytes] = {}
            for name, entry in manifest["files"].items():
                content = (folder / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                    return None
                contents[name] = content
            state = json.loads(contents.pop(_STATE))
            tensors = {name.removesuffix(".safetensors"): load(c) for name, c in contents.items()}
            return Checkpoint(int(manifest["step"]), folder, tensors, state)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def _newest_first(self) -> list[Path]:
        if not self.folder.exists():
            return []
        return sorted(
            (path for path in self.folder.iterdir() if _NAME.fullmatch(path.name)), reverse=True
        )

    def _remove_old(self) -> None:
        """Keep the newest two and what each of them calls the best."""
        folders = self._newest_first()
        needed = {folder.name for folder in folders[:_KEPT]}
        for folder in folders[:_KEPT]:
            try:
                best = json.loads((folder / _MANIFEST).read_bytes())["best_step"]
            except (OSError, ValueError, KeyError):
                continue
            if best is not None:
                needed.add(f"step-{best:08d}")
        for folder in folders:
            if folder.name not in needed:
                self._discard(folder)

    def _discard(self, folder: Path) -> None:
        # Renamed first, so that a kill in between leaves nothing that looks like one.
        doomed = self.folder / f".tmp-old-{folder.name}-{self._fence}"
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)

    def _require_room(self, needed_bytes: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if free < needed_bytes:
            raise disk_full(needed_bytes, free)

    def _require_fence(self) -> None:
        """Stop if someone else holds the run by now."""
        try:
            highest = int((self.folder / _FENCE_FILE).read_text())
        except (OSError, ValueError):
            return
        if highest > self._fence:
            raise StoppedError(0)
