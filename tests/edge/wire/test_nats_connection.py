"""What a user is told who cannot reach a NATS server."""

import asyncio

import pytest

from edge.wire.nats_connection import FAILURES, NatsServers
from tests.support.certificates import make_certificate
from tests.support.nats_server import BINARY, nats_server


def explain(servers):
    with pytest.raises(FAILURES) as failed:
        asyncio.run(servers.connect())
    return servers.explain(failed.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "ca.pem: No such file or directory: check the path"),
        ("garbage", "ca.pem holds no certificate (PEM): give that of the authority that signed"),
    ],
)
def test_an_authority_that_cannot_be_read_is_named(tmp_path, content, expected):
    path = tmp_path / "ca.pem"
    if content:
        path.write_text(content)
    assert expected in explain(NatsServers(("tls://127.0.0.1:4222",), tls_ca=str(path)))


@pytest.mark.skipif(not BINARY, reason="needs nats-server")
def test_a_certificate_that_is_not_trusted_is_explained(tmp_path):
    files = make_certificate(tmp_path)
    tls = f'tls {{ cert_file: "{files["tls_cert"]}", key_file: "{files["tls_key"]}" }}'
    with nats_server(tmp_path / "nats", tls) as server:
        said = explain(NatsServers((server.url.replace("nats://", "tls://"),)))
        assert (
            "its certificate is not trusted (self-signed certificate): give the certificate" in said
        )
        trusting = NatsServers((f"tls://127.0.0.1:{server.port}",), tls_ca=files["tls_cert"])
        asyncio.run(visit(trusting))


async def visit(servers):
    client = await servers.connect()
    await client.close()
