"""Who wrote an entry, and who sent a frame: keys derived from one secret, the root, and the name of a region.

An entry is signed (Ed25519) by the region that wrote it; a frame between journals carries a MAC. Whoever has the root can be any
region: this tells the regions from everyone else, not from each other.
"""

from __future__ import annotations

import hashlib
import hmac
import json

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from harness.reference.channel import Wire

__all__ = ["Seals"]


class Seals:
    """The keys of all regions. Signatures, keys and MACs are hex."""

    def __init__(self, root: str) -> None:
        self._root = root.encode()
        self._frame_key = self._derived("frame")
        self._private: dict[str, Ed25519PrivateKey] = {}
        self._public: dict[str, Ed25519PublicKey] = {}

    def _derived(self, purpose: str) -> bytes:
        return hmac.digest(self._root, purpose.encode(), "sha256")

    def _signer(self, region: str) -> Ed25519PrivateKey:
        if region not in self._private:
            self._private[region] = Ed25519PrivateKey.from_private_bytes(self._derived(f"entry:{region}"))
        return self._private[region]

    def _verifier(self, region: str) -> Ed25519PublicKey:
        if region not in self._public:
            self._public[region] = self._signer(region).public_key()
        return self._public[region]

    def key(self, region: str) -> str:
        """The public key of a region."""
        return self._verifier(region).public_bytes_raw().hex()

    def sign(self, region: str, digest: str) -> str:
        """The region's signature of an entry's hash."""
        return self._signer(region).sign(digest.encode()).hex()

    def signed(self, region: str, digest: str, signature: str) -> bool:
        """Whether this is the region's signature of that hash."""
        try:
            self._verifier(region).verify(bytes.fromhex(signature), digest.encode())
        except (InvalidSignature, ValueError):
            return False
        return True

    def mac(self, frame: Wire) -> str:
        """What only a holder of the root can compute of a frame."""
        text = json.dumps(frame, sort_keys=True, separators=(",", ":"))
        return hmac.new(self._frame_key, text.encode(), hashlib.sha256).hexdigest()
