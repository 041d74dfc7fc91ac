"""Passwords: what may be one, and how it is kept."""

import threading
from functools import cache
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from app.accounts.common_passwords import is_common
from app.accounts.errors import WeakPasswordError

MINIMUM_LENGTH: Final = 8
_MAXIMUM_LENGTH: Final = 1000

# One hash takes 64 MB and a good part of a processor. A crowd at the door waits its turn here
# instead of taking the memory that a training needs.
_turn = threading.BoundedSemaphore(2)
_hasher = PasswordHasher()


def check_strength(password: str, *, email: str = "", name: str = "") -> None:
    """Raise WeakPasswordError unless the password is long and not among the first guesses."""
    if len(password) < MINIMUM_LENGTH:
        raise WeakPasswordError(f"The password is shorter than {MINIMUM_LENGTH} characters.")
    if len(password) > _MAXIMUM_LENGTH:
        raise WeakPasswordError(f"The password is longer than {_MAXIMUM_LENGTH} characters.")
    own_words = {email.lower(), email.lower().partition("@")[0], name.lower()}
    if password.lower().strip("0123456789!?. ") in own_words - {""}:
        raise WeakPasswordError("The password is your own name or address.")
    if is_common(password):
        raise WeakPasswordError(
            "This password is too easy to guess.", "It is among those that are tried first."
        )


def hash_password(password: str) -> str:
    with _turn:
        return _hasher.hash(password)


def verify_password(password_hash: str | None, password: str) -> bool:
    """Compare, taking as long for someone unknown (None) as for someone known."""
    with _turn:
        try:
            _hasher.verify(password_hash or _nobodys_hash(), password)
        except (VerificationError, InvalidHashError):
            return False
    return password_hash is not None


def needs_rehash(password_hash: str) -> bool:
    return _hasher.check_needs_rehash(password_hash)


@cache
def _nobodys_hash() -> str:
    return _hasher.hash("a password that belongs to nobody")
