"""Secrets we must send on, encrypted at rest with Fernet (keys: settings.FIELD_KEYS).

Models store the token `conceal` returns, never the plain text, so a logged or serialised row shows nothing.
"""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class UnreadableSecret(Exception):
    """A stored secret was encrypted with a key that FIELD_KEYS no longer holds."""


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def conceal(plain: str) -> str:
    """The token to store for a secret ('' for '')."""
    return _fernet(tuple(settings.FIELD_KEYS)).encrypt(plain.encode()).decode() if plain else ""


def reveal(token: str) -> str:
    """The secret of a stored token ('' for ''). Raises `UnreadableSecret`."""
    if not token:
        return ""
    try:
        return _fernet(tuple(settings.FIELD_KEYS)).decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise UnreadableSecret("the stored key cannot be decrypted: FIELD_KEYS changed; enter it again") from error
