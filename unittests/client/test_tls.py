"""HTTPS: whom the SDK trusts (zerocloud/client/transport.py, login.py)."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from wsgiref.simple_server import make_server

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from unittests.client.endpoint import Endpoint, _Silent
from unittests.fakes.fake_keystone import FakeKeystone
from zerocloud.client import Client, ConnectError, LoginError, log_in
from zerocloud.client.login import tls_of
from zerocloud.client.transport import Tls


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that only its own key has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "unit")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.SubjectAlternativeName(
        [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(alternative, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[Endpoint, Path]]:
    """The endpoint behind HTTPS, and the file that makes it trusted."""
    cert, key = write_certificate(tmp_path)
    endpoint = Endpoint()
    with _https(endpoint, cert, key) as url:
        endpoint.url = url
        yield endpoint, cert


class _https:  # noqa: N801 - used as a context manager function
    def __init__(self, app: object, cert: Path, key: Path) -> None:
        self.server = make_server(
            "127.0.0.1",
            0,
            app,
            handler_class=_Silent,  # type: ignore[arg-type]
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True
        )
        # A client that breaks the handshake off is what is tested.
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.thread = threading.Thread(
            target=self.server.serve_forever, args=(0.005,)
        )

    def __enter__(self) -> str:
        self.thread.start()
        return f"https://127.0.0.1:{self.server.server_port}"

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_https_that_nobody_vouches_for_is_refused_with_the_remedy(
    secure: tuple[Endpoint, Path],
) -> None:
    endpoint, _ = secure
    with pytest.raises(ConnectError) as caught:
        log_in(endpoint.variables())
    assert str(caught.value) == (
        f"{endpoint.url}: its certificate is not trusted; OS_CACERT names a "
        "file of authorities to trust"
    )


def test_https_with_os_cacert_is_trusted_for_login_and_jobs(
    secure: tuple[Endpoint, Path],
) -> None:
    endpoint, cert = secure
    client = Client(log_in({**endpoint.variables(), "OS_CACERT": str(cert)}))
    assert client.zerocloud_info()["max_nodes"] == 1000


def test_https_with_os_insecure_is_not_checked_and_does_not_warn(
    secure: tuple[Endpoint, Path],
) -> None:
    endpoint, _ = secure
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        login = log_in({**endpoint.variables(), "OS_INSECURE": "true"})
        assert Client(login).zerocloud_info()["max_nodes"] == 1000


def test_https_with_a_missing_file_of_authorities_names_it(
    secure: tuple[Endpoint, Path],
) -> None:
    endpoint, _ = secure
    with pytest.raises(ConnectError, match=r"/none\.pem"):
        log_in({**endpoint.variables(), "OS_CACERT": "/none.pem"})


def test_https_keystone_obeys_os_cacert_and_os_insecure(
    tmp_path: Path,
) -> None:
    cert, key = write_certificate(tmp_path)
    keystone = FakeKeystone()
    with _https(keystone, cert, key) as keystone.url:
        variables = {
            "OS_AUTH_URL": keystone.url,
            "OS_USERNAME": "ada",
            "OS_PASSWORD": "lovelace-1815",
            "OS_PROJECT_NAME": "engines",
            "OS_DEFAULT_DOMAIN_NAME": "Default",
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }
        with pytest.raises(ConnectError, match="not trusted; OS_CACERT"):
            log_in(variables)
        assert log_in({**variables, "OS_CACERT": str(cert)}).token
        assert log_in({**variables, "OS_INSECURE": "1"}).token


@pytest.mark.parametrize(
    ("variables", "tls"),
    [
        ({}, Tls()),
        ({"OS_CACERT": "/ca"}, Tls(verify="/ca")),
        ({"OS_CACERT": "/ca", "OS_INSECURE": "false"}, Tls(verify="/ca")),
        ({"OS_CACERT": "/ca", "OS_INSECURE": "True"}, Tls(verify=False)),
        ({"SWIFTCLIENT_INSECURE": "yes"}, Tls(verify=False)),
        ({"OS_CERT": "/c"}, Tls(cert="/c")),
        ({"OS_CERT": "/c", "OS_KEY": "/k"}, Tls(cert=("/c", "/k"))),
    ],
)
def test_tls_variables_are_those_of_swift_and_openstack(
    variables: dict[str, str], tls: Tls
) -> None:
    assert tls_of(variables) == tls


@pytest.mark.parametrize(
    ("variables", "text"),
    [
        ({"OS_INSECURE": "maybe"}, "OS_INSECURE is 'maybe'; allowed are"),
        ({"OS_KEY": "/k"}, "OS_KEY is set without OS_CERT"),
    ],
)
def test_tls_variable_that_makes_no_sense_is_refused(
    variables: dict[str, str], text: str
) -> None:
    with pytest.raises(LoginError, match=text):
        tls_of(variables)
