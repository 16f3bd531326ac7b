"""Signatures under documents that are read elsewhere, and the key that signs them.

A signature covers a digest of every field of a document, so the check names a field that was changed
later. Digests are of values, not of their spelling: a file that a program reads and writes again
still matches.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from app.core.db import Database, rfc3339
from app.core.errors import ConfigurationInvalid
from app.core.models import ServerSecret
from app.core.settings import Settings

ALGORITHM: Final = "Ed25519"
SIGNATURE: Final = "signature"
_DEPTH: Final = 3
_SEALED: Final = "aes-gcm:"
_NAME: Final = "signing"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a document: the field, and why."""

    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The key that signs; nothing shows its secret half."""

    _secret: bytes

    def __repr__(self) -> str:
        """Return the public half alone."""
        return f"SigningKey({self.public})"

    @property
    def public(self) -> str:
        """The public half: 64 hexadecimal digits."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        key = Ed25519PrivateKey.from_private_bytes(self._secret)
        return key.public_key().public_bytes_raw().hex()

    def sign(self, document: Mapping[str, Any], moment: datetime) -> dict[str, Any]:
        """Return the document with a signature over each of its fields."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        signed = {
            "algorithm": ALGORITHM,
            "public_key": self.public,
            "signed_at": rfc3339(moment),
            "digests": digests(document),
        }
        key = Ed25519PrivateKey.from_private_bytes(self._secret)
        return {**document, SIGNATURE: {**signed, "value": key.sign(_bytes(signed)).hex()}}


def digests(document: Mapping[str, Any]) -> dict[str, str]:
    """Return a digest of every field of a document except its signature, by the field's path."""
    return {
        place: hashlib.sha256(_bytes(value)).hexdigest()
        for name, inside in document.items()
        if name != SIGNATURE
        for place, value in _fields(name, inside, _DEPTH)
    }


def _fields(place: str, value: Any, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > 1 and isinstance(value, dict) and value:
        for name, inside in value.items():
            yield from _fields(f"{place}.{name}", inside, depth - 1)
    else:
        yield place, value


def _bytes(value: Any) -> bytes:
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"))
    return text.encode("ascii")


def _plain(value: Any) -> Any:
    """Return a value with one spelling of whole numbers: 1 and 1.0 are equal in JSON."""
    if isinstance(value, dict):
        return {name: _plain(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [_plain(inside) for inside in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def faults_of_signature(document: Mapping[str, Any], trusted: Collection[str] = ()) -> list[Fault]:
    """Return what is wrong with a document's signature, field by field; nothing if it holds.

    Args:
        document: As it was read.
        trusted: Public keys whose signatures count; empty: any key's.

    Example:
        >>> signed = SigningKey(bytes(32)).sign({"a": {"b": 1, "c": 2}}, datetime(2026, 1, 1))
        >>> faults_of_signature(signed)
        []
        >>> faults_of_signature({**signed, "a": {"b": 1, "c": 3}})
        [Fault(field='a.c', reason='was changed after it was signed')]
    """
    signature = document.get(SIGNATURE)
    if not isinstance(signature, dict):
        return [Fault(SIGNATURE, "is missing")]
    signed = {name: value for name, value in signature.items() if name != "value"}
    if fault := _fault_of_key(signed, trusted):
        return [fault]
    stated, found = signed.get("digests"), digests(document)
    if not isinstance(stated, dict):
        return [Fault(f"{SIGNATURE}.digests", "is missing")]
    if not _is_signed(signed, signature.get("value")):
        why = "does not belong to what it signs: the signature itself was changed, or its digests"
        return [Fault(f"{SIGNATURE}.value", why), *_changed(stated, found)]
    return _changed(stated, found)


def _changed(stated: Mapping[str, Any], found: Mapping[str, str]) -> list[Fault]:
    lost = [Fault(place, "is missing, and was signed") for place in stated if place not in found]
    return lost + [
        Fault(place, "was changed after it was signed" if place in stated else "was not signed")
        for place, digest in found.items()
        if stated.get(place) != digest
    ]


def _fault_of_key(signed: Mapping[str, Any], trusted: Collection[str]) -> Fault | None:
    if signed.get("algorithm") != ALGORITHM:
        return Fault(f"{SIGNATURE}.algorithm", f"is not {ALGORITHM}")
    public = signed.get("public_key")
    try:
        key = public_key(public)
    except ValueError as error:
        return Fault(f"{SIGNATURE}.public_key", str(error))
    if trusted and key not in trusted:
        return Fault(
            f"{SIGNATURE}.public_key", f"{key} is not the key of a signer that counts here"
        )
    return None


def public_key(text: object) -> str:
    """Return a public key in its usual spelling.

    Raises:
        ValueError: it is none.
    """
    key = text.strip().lower().removeprefix("ed25519:") if isinstance(text, str) else ""
    if len(key) != 64 or not set(key) <= set("0123456789abcdef"):
        raise ValueError("is not a public key: 64 hexadecimal digits, see tribunal keys signing")
    return key


def _is_signed(signed: Mapping[str, Any], value: object) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key(signed["public_key"])))
        key.verify(bytes.fromhex(value if isinstance(value, str) else ""), _bytes(signed))
    except (InvalidSignature, ValueError):
        return False
    return True


async def signing_key(settings: Settings, db: Database) -> SigningKey:
    """Return the key of the settings, else the one the database keeps (made on first use).

    The database keeps it encrypted under `TRIBUNAL_SECRET` where there is one.

    Raises:
        ConfigurationInvalid: it was encrypted under another secret than the present one.
    """
    if settings.signing_key is not None:
        return SigningKey(bytes.fromhex(settings.signing_key.get_secret_value()))
    async with db.read() as session:
        found = await session.get(ServerSecret, _NAME)
    if found is not None:
        return SigningKey(_opened(found.value, settings))
    async with db.write() as session:
        stored = await session.get(ServerSecret, _NAME)
        if stored is None:
            stored = ServerSecret(name=_NAME, value=_closed(_new_secret(), settings))
            session.add(stored)
        return SigningKey(_opened(stored.value, settings))


def _new_secret() -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.generate().private_bytes_raw()


def _sealing_key(settings: Settings) -> bytes | None:
    if settings.secret is None:
        return None
    secret = settings.secret.get_secret_value().encode()
    return hashlib.sha256(b"signing key of certificates\n" + secret).digest()


def _closed(secret: bytes, settings: Settings) -> str:
    import os

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = _sealing_key(settings)
    if key is None:
        return secret.hex()
    nonce = os.urandom(12)
    sealed = nonce + AESGCM(key).encrypt(nonce, secret, None)
    return _SEALED + base64.b64encode(sealed).decode("ascii")


def _opened(stored: str, settings: Settings) -> bytes:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not stored.startswith(_SEALED):
        return bytes.fromhex(stored)
    key = _sealing_key(settings)
    try:
        sealed = base64.b64decode(stored.removeprefix(_SEALED))
        return AESGCM(key or bytes(32)).decrypt(sealed[:12], sealed[12:], None)
    except (InvalidTag, binascii.Error):
        raise ConfigurationInvalid(
            "TRIBUNAL_SECRET: the key that signs certificates is stored under another secret; set that "
            "one again, or give a key in TRIBUNAL_SIGNING_KEY"
        ) from None
