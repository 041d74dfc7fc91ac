"""The secret that the pages and the chat server share."""

import secrets

from app.settings import Settings
from app.storage.durable import create_once
from app.storage.folders import Storage

_FILE = "inference.token"


def ensure_inference_token(settings: Settings, storage: Storage) -> str:
    """Return the secret: the setting's, or the one in the data folder, made if there is none.

    Several processes may ask at the same first moment; all of them get the same one.
    """
    if given := settings.inference_token.get_secret_value():
        return given
    kept = create_once(storage.folder("keys") / _FILE, secrets.token_urlsafe(32).encode())
    return kept.decode("ascii").strip()
