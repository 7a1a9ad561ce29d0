"""An API signing key of OCI's: RSA, known by the fingerprint of its public half."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class ApiKey:
    private: Path
    public: Path
    fingerprint: str
    tenancy: str = "ocid1.tenancy.oc1..aaaaaaaatenancyofthesuite"
    user: str = "ocid1.user.oc1..aaaaaaaauserofthesuite"

    @property
    def id(self):
        return f"{self.tenancy}/{self.user}/{self.fingerprint}"

    @classmethod
    def made(cls, folder):
        """Writes api_key.pem and api_key_public.pem."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        private, public = Path(folder) / "api_key.pem", Path(folder) / "api_key_public.pem"
        private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        private.chmod(0o600)
        public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return cls(private, public, hashlib.md5(der).digest().hex(":"))
