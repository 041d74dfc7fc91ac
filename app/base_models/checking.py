"""Check a base model before anyone may use it: in a child process that can be stopped."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO, Any, Final

from sqlalchemy import Engine

from app.base_models import repository
from app.base_models.description import write_description
from app.base_models.fetching import SPEED_FACT
from app.base_models.files import (
    UnreadableModelError,
    fingerprint,
    model_files,
    read_measures,
    read_shape,
)
from app.base_models.holding import HeldModel, Outcome, claim_model, work_on
from app.base_models.safety import check_folder
from app.base_models.tables import BaseModelStatus
from app.base_models.transformer_shape import SHAPE_FACT
from app.database.session import transaction
from app.errors import NotFoundError
from app.processes import child_environment, dying_with_parent, end_group
from app.settings import REPOSITORY_ROOT
from app.storage.folders import Storage

_CHILD_MODULE: Final = "worker.base_model_check.main"
_SECONDS: Final = 900
_MOST_ANSWER_BYTES: Final = 100_000

_REASONS: Final = {
    "kind": (
        "The version of the transformers library in this Tailor does not know this kind of model.",
        "Choose another model, or ask the person who runs Tailor whether a newer version does.",
    ),
    "tokenizer": (
        "The tokenizer's files are damaged, incomplete, or of a kind that Tailor cannot read.",
        "Fetch the model again, or choose another one.",
    ),
    "weights": (
        "The weights do not fit what its config.json says.",
        "Fetch the model again, or choose another one.",
    ),
    "incomplete": (
        "Some of the weights that its config.json asks for are not there.",
        "Make sure that all .safetensors files are there, or choose another model.",
    ),
    "template": (
        "Its chat template, which says how a conversation is written down, does not work.",
        "Choose another model, or ask whoever made it.",
    ),
    "memory": (
        "This machine has too little free memory for it.",
        "Choose a smaller model, or free memory on this machine and check it again.",
    ),
    "speech": (
        "It was loaded, but it failed when it should say its first words.",
        "Fetch the model again, or choose another one.",
    ),
}


class FailedCheckError(UnreadableModelError):
    """The model could not be loaded, or could not say anything."""

    def __init__(self, what: str, why: str, next_step: str, details: str = "") -> None:
        super().__init__(what, why=why, next_step=next_step, details=details)


def check_base_model(engine: Engine, storage: Storage, base_model_id: str, owner: str) -> None:
    """Job: load the model in a child process and let it say a few words; then it is ready."""
    held = claim_model(
        engine, base_model_id, owner, BaseModelStatus.FETCHED, BaseModelStatus.CHECKING
    )
    if held is not None:
        work_on(held, lambda mine: _check(engine, storage, mine))


def _check(engine: Engine, storage: Storage, held: HeldModel) -> Outcome:
    with transaction(engine, read_only=True) as session:
        model = repository.get(session, held.id)
    if model is None or model.folder is None:
        raise NotFoundError("This base model does not exist.")
    folder = Path(model.folder)
    check_folder(folder)
    shape = read_shape(folder)
    # The model's object is our own copy here; the row changes under the fence alone.
    model.fingerprint = fingerprint(folder, held.look_up)
    answer = _ask_child(folder, held)
    facts = {
        **{key: value for key, value in model.facts.items() if key != SPEED_FACT},
        "parameters": shape.parameters,
        "context_length": shape.context_length,
        "architecture": shape.architecture,
        "has_chat_template": bool(answer["has_chat_template"]),
        "has_pad_token": bool(answer["has_pad_token"]),
    }
    if (measures := read_measures(folder)) is not None:
        facts[SHAPE_FACT] = measures.as_fact()
    size = sum(path.stat().st_size for path in model_files(folder))
    write_description(storage, model)
    return Outcome(
        {
            "status": BaseModelStatus.READY,
            "fingerprint": model.fingerprint,
            "facts": facts,
            "total_bytes": size,
            "downloaded_bytes": size,
            "first_words": str(answer["first_words"])[:500],
        }
    )


def _ask_child(folder: Path, held: HeldModel) -> dict[str, Any]:
    """Run the child to its end, holding the row meanwhile."""
    command = [sys.executable, "-m", _CHILD_MODULE, str(folder), str(_SECONDS)]
    # Files, not pipes: nobody has to read along while the child works.
    with (
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            dying_with_parent(command, signal.SIGKILL),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=child_environment(),
            cwd=REPOSITORY_ROOT,
            start_new_session=True,
        ) as child,
    ):
        try:
            _wait(child, held)
        finally:
            end_group(child)
        return _understood(output, errors, child.returncode)


def _wait(child: "subprocess.Popen[bytes]", held: HeldModel) -> None:
    deadline = time.monotonic() + _SECONDS
    while child.poll() is None:
        held.rest(0.1)
        if time.monotonic() > deadline:
            raise FailedCheckError(
                "The model took too long to say its first words.",
                why=f"After {_SECONDS // 60} minutes there was still no answer.",
                next_step="Choose a smaller model for this machine.",
            )


def _understood(output: IO[bytes], errors: IO[bytes], return_code: int) -> dict[str, Any]:
    output.seek(0)
    try:
        answer = json.loads(output.read(_MOST_ANSWER_BYTES))
    except ValueError:
        raise FailedCheckError(
            "The model could not be loaded.",
            why="The process that tried was ended by the machine; most often that means too "
            "little memory.",
            next_step="Choose a smaller model, or free memory on this machine and check it again.",
            details=f"exit code {return_code}\n{_tail(errors)}",
        ) from None
    if "problem" in answer:
        why, next_step = _REASONS.get(answer["problem"], _REASONS["speech"])
        details = str(answer.get("details", ""))
        raise FailedCheckError("The model cannot be used.", why, next_step, details)
    return dict(answer)


def _tail(stream: IO[bytes], most: int = 3000) -> str:
    size = stream.seek(0, os.SEEK_END)
    stream.seek(max(0, size - most))
    return stream.read().decode(errors="replace")
