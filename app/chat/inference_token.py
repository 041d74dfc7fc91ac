"""The secret that the pages and the chat server share."""

import os
import secrets
from pathlib import Path

from app.settings import Settings
from app.storage.folders import Storage, fsync_folder

_FILE = "inference.token"


def ensure_inference_token(settings: Settings, storage: Storage) -> str:
    """Return the secret: the setting's, or the one in the data folder, made if there is none.

    Several processes may ask at the same first moment; all of them get the same one.
    """
    if given := settings.inference_token.get_secret_value():
        return given
    file = storage.folder("keys") / _FILE
    if not file.exists():
        _create(file)
    return file.read_text(encoding="ascii").strip()


def _create(file: Path) -> None:
    # Linking a finished file into place is atomic and fails if another process was first.
    own = file.with_name(f".{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(own, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(secrets.token_urlsafe(32))
        stream.flush()
        os.fsync(stream.fileno())
    try:
        os.link(own, file)
    except FileExistsError:
        return
    finally:
        own.unlink()
    fsync_folder(file.parent)
