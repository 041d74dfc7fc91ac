"""Random tokens that a browser or a link carries. Only their hashes are stored."""

import hashlib
import secrets


def new_token() -> str:
    """Return 256 random bits, safe in addresses and cookies."""
    return secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    # A token is random, so a plain hash is enough: there is nothing to guess.
    return hashlib.sha256(token.encode()).hexdigest()
