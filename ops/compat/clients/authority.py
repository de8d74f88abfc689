"""A certificate authority for one run, and the certificate of what it serves."""

import datetime
import ipaddress
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

HOURS = 24


def make(directory: str, domain: str) -> tuple[str, tuple[str, str]]:
    """The authority's certificate, and certificate and key for the domain, all that is below it, localhost and 127.0.0.1."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Sealgate clients run")])
    now = datetime.datetime.now(datetime.timezone.utc)

    def begun(subject, public_key):
        return (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public_key).serial_number(x509.random_serial_number())
                .not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(now + datetime.timedelta(hours=HOURS))
                .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
                .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False))

    # What OpenSSL 3 in its strict mode, rustls and Java all ask of an authority.
    usage = x509.KeyUsage(digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False, key_agreement=False,
                          key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    authority = (begun(issuer, authority_key.public_key()).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
                 .add_extension(usage, critical=True).sign(authority_key, hashes.SHA256()))
    names = [x509.DNSName(domain), x509.DNSName(f"*.{domain}"), x509.DNSName("localhost"), x509.DNSName("*.localhost"),
             x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    leaf = (begun(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)]), key.public_key())
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False).sign(authority_key, hashes.SHA256()))

    def written(name: str, content: bytes) -> str:
        path = os.path.join(directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
        return path

    pem = serialization.Encoding.PEM
    return written("ca.pem", authority.public_bytes(pem)), (
        written("server.pem", leaf.public_bytes(pem)),
        written("server.key", key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())),
    )
