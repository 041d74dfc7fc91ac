"""Check a base model before anyone may use it: in a child process that can be stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine

from app.base_models import repository
from app.base_models.description import write_description
from app.base_models.files import UnreadableModelError, fingerprint, read_shape
from app.base_models.holding import HeldModel, claim_model, work_on
from app.base_models.safety import check_folder
from app.base_models.tables import BaseModelStatus
from app.database.session import transaction
from app.storage.folders import Storage

_CHILD_MODULE: Final = "worker.base_model_check.main"
_SECONDS: Final = 900
_KEPT_VARIABLES: Final = (
    "PATH",
    "HOME",
    "LANG",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
    "TMPDIR",
)


class FailedCheckError(UnreadableModelError):
    """The model could not be loaded, or could not say anything."""


def check_base_model(engine: Engine, storage: Storage, base_model_id: str, owner: str) -> None:
    """Job: load the model in a child process and let it say a few words; then it is ready."""
    held = claim_model(
        engine, base_model_id, owner, BaseModelStatus.FETCHED, BaseModelStatus.CHECKING
    )
    if held is not None:
        work_on(held, lambda mine: _check(engine, storage, mine))


def _check(engine: Engine, storage: Storage, held: HeldModel) -> None:
    with transaction(engine, read_only=True) as session:
        model = repository.get(session, held.id)
    if model is None or model.folder is None:
        return
    folder = Path(model.folder)
    check_folder(folder)
    shape = read_shape(folder)
    model.fingerprint = fingerprint(folder)
    held.beat()
    answer = _ask_child(folder, held)
    model.facts = {
        **model.facts,
        "parameters": shape.parameters,
        "context_length": shape.context_length,
        "architecture": shape.architecture,
        "has_chat_template": bool(answer["has_chat_template"]),
        "has_pad_token": bool(answer["has_pad_token"]),
    }
    write_description(storage, model)
    held.finish(
        status=BaseModelStatus.READY,
        fingerprint=model.fingerprint,
        facts=model.facts,
        first_words=str(answer["first_words"])[:500],
        attempts=0,
    )


def _ask_child(folder: Path, held: HeldModel) -> dict[str, Any]:
    """Run the child to its end, holding the row meanwhile."""
    environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    environment |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", _CHILD_MODULE, str(folder), str(_SECONDS)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
        start_new_session=True,
    ) as child:
        try:
            output = _wait_with_heartbeats(child, held)
        finally:
            child.kill()
    return _understood(output, child.returncode)


def _wait_with_heartbeats(child: subprocess.Popen[str], held: HeldModel) -> str:
    waited = 0
    while True:
        try:
            output, _ = child.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            held.beat()
            waited += 1
            if waited > _SECONDS:
                raise FailedCheckError(
                    "The model took too long to say its first words.",
                    why=f"After {_SECONDS // 60} minutes there was still no answer.",
                    next_step="Choose a smaller model for this machine.",
                ) from None
        else:
            return output


def _understood(output: str, return_code: int) -> dict[str, Any]:
    try:
        answer = json.loads(output.strip().splitlines()[-1])
    except (IndexError, ValueError):
        raise FailedCheckError(
            "The model could not be loaded.",
            why=f"The process that tried ended without a word (exit code {return_code}); most "
            "often that means too little memory.",
            next_step="Choose a smaller model, or free memory on this machine and check it again.",
        ) from None
    if "problem" in answer:
        raise FailedCheckError(
            "The model could not be loaded.",
            why=str(answer["problem"])[:500],
            next_step="Check that the folder is complete and that transformers knows this kind.",
        )
    return dict(answer)
