"""HTTP Digest authentication (RFC 7616): the answer to a server's challenge, with MD5 or SHA-256."""

from __future__ import annotations

import hashlib
import secrets
import urllib.request
from collections.abc import Mapping

from edge.errors import DeliveryError

_HASHES = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}


def parse_challenge(header: str) -> Mapping[str, str]:
    """The parts of `WWW-Authenticate: Digest ...`. Raises DeliveryError for another scheme: none may see a password."""
    scheme, _, rest = header.strip().partition(" ")
    if scheme.lower() != "digest":
        raise DeliveryError(f"the platform asks for {scheme or 'nothing'} and not for Digest; check its address")
    try:
        parts = urllib.request.parse_keqv_list(urllib.request.parse_http_list(rest))
    except (ValueError, IndexError):
        raise DeliveryError("the platform's challenge cannot be read; check its address") from None
    return {name.lower(): value for name, value in parts.items()}


def authorization(
    challenge: Mapping[str, str], *, method: str, uri: str, username: str, password: str, cnonce: str = ""
) -> str:
    """The header `Authorization`. A fresh challenge each time, so the count of its uses is 1."""
    algorithm = challenge.get("algorithm", "MD5")
    if algorithm.upper() not in _HASHES:
        raise DeliveryError(f"the platform asks for Digest with {algorithm[:20]}; MD5 and SHA-256 are known")
    name = algorithm.upper()
    realm, nonce = challenge.get("realm", ""), challenge.get("nonce", "")
    offered = [one.strip() for one in challenge.get("qop", "").split(",")]
    cnonce, count = cnonce or secrets.token_hex(8), "00000001"
    secret = _hash(name, f"{username}:{realm}:{password}")
    request = _hash(name, f"{method}:{uri}")
    middle = f"{nonce}:{count}:{cnonce}:auth" if "auth" in offered else nonce
    quoted = {"username": username, "realm": realm, "nonce": nonce, "uri": uri}
    quoted["response"] = _hash(name, f"{secret}:{middle}:{request}")
    if "opaque" in challenge:
        quoted["opaque"] = challenge["opaque"]
    plain = {"algorithm": algorithm} if "algorithm" in challenge else {}
    if "auth" in offered:
        quoted["cnonce"] = cnonce
        plain |= {"qop": "auth", "nc": count}
    parts = [f'{key}="{value}"' for key, value in quoted.items()] + [f"{key}={value}" for key, value in plain.items()]
    return f"Digest {', '.join(parts)}"


def _hash(name: str, text: str) -> str:
    return _HASHES[name](text.encode(), usedforsecurity=False).hexdigest()
