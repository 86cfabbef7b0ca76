"""Certificates for TLS on loopback."""

import datetime as dt
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from edge.compat import UTC


def make_certificate(folder, encryption=serialization.NoEncryption()):  # noqa: B008 - immutable
    """Make a certificate of localhost and its key, as options of the HTTP server."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    (folder / "cert").write_bytes(cert.public_bytes(pem))
    (folder / "key").write_bytes(key.private_bytes(pem, form, encryption))
    return {"tls_cert": str(folder / "cert"), "tls_key": str(folder / "key")}
