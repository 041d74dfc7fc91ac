"""What may be a password, and how it is kept."""

import time

import pytest

from app.accounts.common_passwords import is_common
from app.accounts.errors import WeakPasswordError
from app.accounts.passwords import check_strength, hash_password, verify_password


@pytest.mark.parametrize(
    "password",
    [
        "password", "Password1!", "P@ssw0rd2026", "12345678", "123456789012", "87654321",
        "qwertyui", "qwertyuiop", "aaaaaaaa", "abababab", "12341234", "letmein1", "welcome123",
        "Admin123", "admin123!", "Tailor2026", "tailor-admin", "iloveyou", "sunshine99",
        "football1", "monkey123", "changeme", "Summer2026", "abcdefgh1", "passwordpassword",
        "trustno1", "superman!", "11111111", "00000000", "asdfghjkl",
    ],
)  # fmt: skip
def test_the_first_guesses_are_refused(password: str) -> None:
    assert is_common(password)
    with pytest.raises(WeakPasswordError):
        check_strength(password)


@pytest.mark.parametrize(
    "password",
    [
        "four words that sew", "brambleknot", "korrekt-pferd-batterie", "qT7vLm2z", "tea & pottery",
        "änderungsschneiderei", "2 Knöpfe, 3 Nadeln", "xkqhwvbz", "correct horse battery",
    ],
)  # fmt: skip
def test_a_password_of_ones_own_is_taken(password: str) -> None:
    check_strength(password)


def test_seven_characters_are_too_few_and_eight_enough() -> None:
    with pytest.raises(WeakPasswordError, match="shorter than 8"):
        check_strength("bramble")
    check_strength("brambles")


@pytest.mark.parametrize("password", ["anna.mueller@example.org", "Anna.Mueller1", "Anna Mueller"])
def test_ones_own_name_is_no_password(password: str) -> None:
    with pytest.raises(WeakPasswordError, match="your own name"):
        check_strength(password, email="anna.mueller@example.org", name="Anna Mueller")


def test_only_the_right_password_opens() -> None:
    kept = hash_password("four words that sew")
    assert kept.startswith("$argon2id$")
    assert verify_password(kept, "four words that sew")
    assert not verify_password(kept, "four words that sow")
    assert not verify_password(None, "four words that sew")
    assert not verify_password("not a hash", "four words that sew")


def test_a_stranger_is_answered_with_as_much_work_as_a_wrong_password() -> None:
    kept = hash_password("four words that sew")
    verify_password(None, "warming up")
    # Of several tries the quickest, since other processes of the machine may come in between.
    known = min(_seconds_of_work(kept) for _ in range(3))
    stranger = min(_seconds_of_work(None) for _ in range(3))
    assert known / 2 < stranger < known * 2


def _seconds_of_work(kept: str | None) -> float:
    began = time.process_time()
    assert not verify_password(kept, "four words that sow")
    return time.process_time() - began
