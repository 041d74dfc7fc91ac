"""Signs what a browser carries for Tailor and must not be able to change."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from typing import Any

from app.storage.durable import create_once
from app.storage.folders import Storage

_KEY_FILE = "web.key"


class Signer:
    """HMAC-SHA-256 under this installation's key, with a purpose so that uses never mix."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def signature(self, purpose: str, value: str) -> str:
        digest = hmac.digest(self._key, f"{purpose}\0{value}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def is_genuine(self, purpose: str, value: str, signature: str) -> bool:
        return hmac.compare_digest(
            self.signature(purpose, value).encode(), signature.encode("utf-8", "replace")
        )

    def packed(self, purpose: str, content: object) -> str:
        """Return JSON data as the signed value of a cookie. It is not secret from the browser."""
        text = json.dumps(content, ensure_ascii=False)
        payload = base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
        return f"{payload}.{self.signature(purpose, payload)}"

    def unpacked(self, purpose: str, value: str) -> Any:  # noqa: ANN401 (JSON)
        """Return what was packed for this purpose; None if the value is not our own."""
        payload, _, signature = value.partition(".")
        if not payload or not self.is_genuine(purpose, payload, signature):
            return None
        try:
            return json.loads(base64.urlsafe_b64decode(payload + "=="))
        except (binascii.Error, ValueError):
            # Signed by an older version in another shape.
            return None


def load_signer(storage: Storage) -> Signer:
    """Read this installation's key, made when first asked for."""
    return Signer(create_once(storage.folder("keys") / _KEY_FILE, secrets.token_bytes(32)))
