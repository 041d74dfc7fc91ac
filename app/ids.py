"""Identifiers that say nothing and cannot be guessed."""

import secrets


def new_id() -> str:
    """Return 16 lower-case hexadecimal characters from 64 random bits.

    Ids name rows and folders. Rights are checked on every use, so an id is no secret;
    it is random so that nobody learns from one how many others there are.
    """
    return secrets.token_hex(8)
