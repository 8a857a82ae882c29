"""Recordings at https:// addresses. All servers are here; public addresses lead to them."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

import pytest
import trustme

from unisono.addresses import is_public
from unisono.errors import ConfigError, PromptError
from unisono.plugins import PluginManager
from unisono.remote import UrlVoices
from unisono.sections import Voices
from unisono.types import ModelInfo, Task
from unisono.voice import VoiceReference

PUBLIC = "93.184.215.14"
PUBLIC_6 = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
HOST = "voices.example.com"
SONG = "https://voices.example.com/song.wav"
NAMES = [HOST, "a.cdn.example.org", "xn--bcher-kva.example", PUBLIC, PUBLIC_6]
MANY = b"audio" * 200_000

Answer = Callable[[BaseHTTPRequestHandler], None]


class Site(ThreadingHTTPServer):
    """A TLS server that answers as it is told, and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, certificate: trustme.LeafCert) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._tls)
        self._tls.sni_callback = lambda _, name, __: self.names.append(name)
        self.names: list[str | None] = []
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), Visit)
        threading.Thread(target=partial(self.serve_forever, 0.01), daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        secured = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return secured, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing when a client leaves: here it should."""


class Visit(BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.path, headers))
        self.server.answers[self.path](self)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def sends(
    body: bytes = b"", status: int = 200, length: int | None = None, **headers: str
) -> Answer:
    """Answer with a body; a length of -1 announces none."""

    def answer(visit: BaseHTTPRequestHandler) -> None:
        visit.send_response(status)
        for name, value in headers.items():
            visit.send_header(name.replace("_", "-"), value)
        if length != -1:
            visit.send_header("Content-Length", str(len(body) if length is None else length))
        visit.end_headers()
        visit.wfile.write(body)

    return answer


def leads_to(place: str, status: int = 302) -> Answer:
    return sends(b"over there", status, Location=place)


class Web:
    """Names, addresses, and every connection that was asked for."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.names: dict[str, list[str]] = {"voices.example.com": [PUBLIC]}
        self.resolved: list[str] = []
        self.connected: list[str] = []

    def resolve(self, host: str, port: int) -> Sequence[str]:
        self.resolved.append(host)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self.names[host]

    def connect(self, address: tuple[str, int], timeout: float) -> socket.socket:
        self.connected.append(address[0])
        if address[0] in (PUBLIC, PUBLIC_6):
            return socket.create_connection(("127.0.0.1", self.site.server_port), timeout)
        if ip_address(address[0]).is_loopback:
            return socket.create_connection(address, timeout)
        raise ConnectionRefusedError(f"{address}: the tests stay on this machine")

    def fetch(self, address: str, **settings: Any) -> bytes:
        voices = Voices(**{"allow_urls": True, "url_seconds": 20.0, **settings})
        plugin = UrlVoices(voices, resolve=self.resolve, connect=self.connect)
        prompt = plugin.resolve_voice_prompt(VoiceReference(audio=address))
        assert prompt is not None
        assert prompt.recording is not None
        return prompt.recording

    def refusal(self, address: str, **settings: Any) -> str:
        """Fetch what must be refused, and return what the client is told."""
        with pytest.raises(PromptError) as caught:
            self.fetch(address, **settings)
        assert (caught.value.status, caught.value.param) == (400, "ref_audio")
        return str(caught.value)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def site(
    authority: trustme.CA, tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Site]]:
    """Return a function that starts sites with a certificate of this authority."""
    trusted = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    sites = []

    def start(*names: str, **validity: datetime) -> Site:
        sites.append(Site(authority.issue_cert(*names, **validity)))
        return sites[-1]

    yield start
    for one in sites:
        one.shutdown()
        one.server_close()


@pytest.fixture
def web(site: Callable[..., Site], wav: Callable[..., bytes]) -> Web:
    """A web with one site, which has a recording."""
    web = Web(site(*NAMES))
    web.site.answers["/song.wav"] = sends(wav(0.1), Content_Type="audio/wav")
    return web


@pytest.fixture
def trap() -> Iterator[Callable[[], bool]]:
    """A port that nobody may connect to: trap() says whether somebody did."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)

        def sprung() -> bool:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        sprung.port = listener.getsockname()[1]  # type: ignore[attr-defined]
        yield sprung


def test_a_recording_is_fetched_over_a_pinned_connection(web: Web, wav: Any) -> None:
    assert web.fetch("HTTPS://Voices.Example.COM./song.wav") == wav(0.1)
    assert web.connected == [PUBLIC]
    assert web.site.names == [HOST]
    ((_, headers),) = web.site.requests
    assert headers["host"] == HOST
    assert headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "referer"} & headers.keys()


def test_the_kernel_finds_it_as_a_plugin(web: Web, wav: Any) -> None:
    plugins = PluginManager()
    urls = UrlVoices(Voices(allow_urls=True), resolve=web.resolve, connect=web.connect)
    plugins.add(urls, "urls")
    prompt = plugins.hook.resolve_voice_prompt(
        reference=VoiceReference(audio=SONG), model=ModelInfo(id="m", task=Task.SPEECH)
    )
    assert prompt.recording == wav(0.1)


@pytest.mark.parametrize(
    "audio", [None, b"https://", "UklGRg==", "data:audio/wav;base64,", "file:///a", "httpsx:"]
)
def test_other_references_are_left_to_others(audio: bytes | str | None) -> None:
    for allowed in (False, True):
        urls = UrlVoices(Voices(allow_urls=allowed))
        assert urls.resolve_voice_prompt(VoiceReference(audio=audio)) is None


@pytest.mark.parametrize("address", [SONG, "http://voices.example.com/song.wav"])
def test_nothing_is_fetched_unless_the_operator_wants_it(web: Web, address: str) -> None:
    message = web.refusal(address, allow_urls=False)
    assert "voices.allow_urls = true" in message
    assert "base64" in message
    assert web.resolved == web.connected == []


@pytest.mark.parametrize(
    "place",
    [
        "/song.wav",
        "song.wav",
        "//voices.example.com/song.wav",
        "https://a.cdn.example.org/song.wav#now",
    ],
)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: Web, wav: Any, place: str, status: int) -> None:
    web.names["a.cdn.example.org"] = [PUBLIC_6]
    web.site.answers["/old"] = leads_to(place, status)
    assert web.fetch("https://voices.example.com/old") == wav(0.1)


def test_three_redirects_are_followed_and_four_are_not(web: Web, wav: Any) -> None:
    for number in range(1, 5):
        web.site.answers[f"/{number}"] = leads_to(f"/{number - 1}" if number > 1 else "/song.wav")
    assert web.fetch("https://voices.example.com/3") == wav(0.1)
    assert "redirects more than 3 times" in web.refusal("https://voices.example.com/4")


def test_a_redirect_loop_ends(web: Web) -> None:
    web.site.answers["/loop"] = leads_to("/loop")
    assert "redirects" in web.refusal("https://voices.example.com/loop")
    assert len(web.site.requests) == 4


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        ("https://a.cdn.example.org/song.wav", ["*.cdn.example.org"]),
        ("https://a.cdn.example.org/song.wav", ["other.example", "*.EXAMPLE.org"]),
        (SONG, ["Voices.example.com"]),
        ("https://bücher.example/song.wav", ["bücher.example"]),
        ("https://BÜCHER.example/song.wav", ["xn--bcher-kva.example"]),
        ("https://xn--bcher-kva.example/song.wav", ["bücher.example"]),
        ("https://voices.example.com:8443/song.wav", ["voices.example.com:8443"]),
        (f"https://{PUBLIC}/song.wav", [PUBLIC]),
        (f"https://{int(ip_address(PUBLIC))}/song.wav", [PUBLIC]),
        (f"https://[{PUBLIC_6}]/song.wav", [f"[{PUBLIC_6}]"]),
    ],
)
def test_a_listed_host_is_fetched_from(web: Web, wav: Any, address: str, hosts: list[str]) -> None:
    web.names |= {"a.cdn.example.org": [PUBLIC], "xn--bcher-kva.example": [PUBLIC_6]}
    assert web.fetch(address, url_hosts=hosts) == wav(0.1)


@pytest.mark.parametrize(
    ("address", "hosts"),
    [
        (SONG, ["example.com"]),
        (SONG, ["*.voices.example.com"]),
        (SONG, ["*.cdn.example.org", "evil.example"]),
        (SONG, ["voices.example.com:8443"]),
        (SONG, ["oices.example.com"]),
        ("https://voices.example.com:8443/song.wav", ["voices.example.com"]),
        ("https://voices.example.com:8443/song.wav", []),
        ("https://voices.example.com:80/song.wav", []),
        (f"https://{PUBLIC}/song.wav", [HOST]),
    ],
)
def test_other_hosts_and_ports_are_not_fetched_from(
    web: Web, address: str, hosts: list[str]
) -> None:
    assert "voices.url_hosts" in web.refusal(address, url_hosts=hosts)
    assert web.resolved == web.connected == []


@pytest.mark.parametrize(
    "entry", ["https://example.com", "example.com/voices", "*", "a@example.com", "*.*.com", ""]
)
def test_a_listed_host_that_is_none_stops_the_server(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"voices\.url_hosts"):
        UrlVoices(Voices(allow_urls=True, url_hosts=[entry]))


@pytest.mark.parametrize(
    "address",
    [
        "http://voices.example.com/song.wav",
        "HTTP://voices.example.com/",
        "https://",
        "https:///song.wav",
        "https://user@voices.example.com/song.wav",
        "https://voices.example.com@evil.example/",
        "https://voices.example.com:443@evil.example/",
        "https://:secret@voices.example.com/",
        "https://voices.example.com\\@evil.example/",
        "https://evil.example\\.voices.example.com/",
        "https://evil.example%2f.voices.example.com/",
        "https://voices.example.com%00.evil.example/",
        "https://voices.example.com\n.evil.example/",
        "https://voices.example.com\t/song.wav",
        "https://voices example.com/song.wav",
        "https://voices..example.com/song.wav",
        "https://voices.example.com:99999999999/",
        "https://voices.example.com:https/",
        "https://[voices.example.com]/",
        "https://[::1/",
        "https://\ud800.example.com/",
        "https://voices.example.com/\ud800",
        "https://" + "a" * 64 + ".example.com/",
        "https://１２７.0.0.1/",
        "https://1.2.3.4.5/",
        "https://0177.0.0.1/",
        "https://127.0.0.0x1g/../" + "x" * 70_000,
    ],
)
def test_an_address_that_is_not_plain_https_is_refused(web: Web, address: str) -> None:
    web.refusal(address)
    assert web.resolved == web.connected == []


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "017700000001",
        "0177.1",
        "127.0.0.1.",
        "0",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0xa9fea9fe",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "192.88.99.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
        "[fe80::1]",
        "[fe80::1%25eth0]",
        "[2606:4700::1%25eth0]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[fec0::1]",
        "[ff02::1]",
        "[2001:db8::1]",
        "[3fff::1]",
        "[100::1]",
    ],
)
def test_an_address_in_numbers_must_be_public(web: Web, host: str) -> None:
    assert "is a private address" in web.refusal(f"https://{host}/latest/meta-data")
    assert web.connected == []


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC_6, "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        [PUBLIC, "127.0.0.1"],
        ["10.0.0.1", PUBLIC],
        [PUBLIC, "::ffff:169.254.169.254"],
        ["fe80::1%eth0"],
    ],
)
def test_every_address_of_a_name_must_be_public(web: Web, found: list[str]) -> None:
    web.names[HOST] = found
    message = web.refusal(SONG, url_hosts=[HOST])
    assert "resolves to a private address" in message
    assert not any(address in message for address in found)
    assert web.connected == []


def test_nobody_knocks_at_a_port_of_this_machine(web: Web, trap: Any) -> None:
    web.names["trap.example.com"] = ["127.0.0.1"]
    hosts = [f"{host}:{trap.port}" for host in ("trap.example.com", "127.0.0.1", "[::1]")]
    for host in hosts:
        web.refusal(f"https://{host}/", url_hosts=hosts)
    for scheme in ("http", "https"):
        web.site.answers["/out"] = leads_to(f"{scheme}://127.0.0.1:{trap.port}/")
        web.refusal("https://voices.example.com/out", url_hosts=[HOST, *hosts])
    assert not trap()


def test_the_trap_would_notice(trap: Any) -> None:
    socket.create_connection(("127.0.0.1", trap.port)).close()
    assert trap()


def test_localhost_is_refused_as_this_machine_resolves_it() -> None:
    connected: list[object] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    plugin = UrlVoices(Voices(allow_urls=True), connect=connect)
    with pytest.raises(PromptError, match="private"):
        plugin.resolve_voice_prompt(VoiceReference(audio="https://localhost/"))
    assert connected == []


@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://[::1]/",
        "//169.254.169.254/latest",
        "https://inside.example.com/",
        "https://elsewhere.example.net/",
        "https://user@voices.example.com/song.wav",
        "http://voices.example.com/song.wav",
        "file:///etc/passwd",
        "gopher://voices.example.com/",
        "data:audio/wav;base64,UklGRg==",
    ],
)
def test_a_redirect_is_checked_like_the_first_address(web: Web, place: str) -> None:
    web.names |= {"inside.example.com": ["192.168.0.1"], "elsewhere.example.net": [PUBLIC_6]}
    web.site.answers["/out"] = leads_to(place)
    web.refusal("https://voices.example.com/out", url_hosts=["*.example.com"])
    assert web.connected == [PUBLIC]


def test_a_name_that_changes_its_address_after_the_check_has_no_effect(web: Web, wav: Any) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]])
    web.resolve = lambda host, port: next(answers)  # type: ignore[method-assign]
    assert web.fetch(SONG) == wav(0.1)
    assert web.connected == [PUBLIC]
    assert next(answers) == ["127.0.0.1"]  # it was asked once


def test_a_name_that_changes_its_address_for_a_redirect_is_refused(web: Web) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    web.resolve = lambda host, port: next(answers)  # type: ignore[method-assign]
    web.site.answers["/again"] = leads_to("/song.wav")
    assert "private" in web.refusal("https://voices.example.com/again")
    assert web.connected == [PUBLIC]


def test_the_next_address_is_tried_when_one_does_not_answer(web: Web, wav: Any) -> None:
    web.names[HOST] = ["2606:4700::1", PUBLIC]
    assert web.fetch(SONG) == wav(0.1)
    assert web.connected == ["2606:4700::1", PUBLIC]


def test_proxies_of_the_environment_are_not_used(
    web: Web, wav: Any, trap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{trap.port}")
    assert web.fetch(SONG) == wav(0.1)
    assert web.connected == [PUBLIC]
    assert not trap()


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (sends(MANY, Content_Type="audio/wav"), "larger than 100,000 bytes"),
        (sends(MANY, length=-1, Content_Type="audio/wav"), "larger than 100,000 bytes"),
        (sends(b"x", length=10**15, Content_Type="audio/wav"), "larger than 100,000 bytes"),
        (sends(b"x" * 100_001, Content_Type="audio/wav"), "larger than 100,000 bytes"),
        (sends(b"RIFF", length=100, Content_Type="audio/wav"), "broke off"),
        (
            sends(gzip.compress(bytes(10**7)), Content_Type="audio/wav", Content_Encoding="gzip"),
            "compresses",
        ),
        (sends(b"x", Content_Type="audio/wav", Content_Encoding="br, gzip"), "compresses"),
        (sends(b"<html>", Content_Type="text/html; charset=utf-8"), "'text/html'"),
        (sends(b"{}", Content_Type="application/json"), "'application/json'"),
        (sends(b"#EXTM3U", Content_Type="application/vnd.apple.mpegurl"), "no recording"),
        (sends(b"no", 404, Content_Type="audio/wav"), "status 404"),
        (sends(b"no", 500), "status 500"),
        (sends(b"", 204, length=-1), "status 204"),
        (sends(b"part", 206, Content_Type="audio/wav"), "status 206"),
        (sends(b"", 302), "status 302"),
        (lambda visit: visit.wfile.write(b"SSH-2.0-dropbear\r\n\r\n"), "does not speak HTTP"),
        (lambda visit: None, "broke off"),
    ],
)
def test_an_answer_that_is_no_recording_is_refused(web: Web, answer: Answer, told: str) -> None:
    web.site.answers["/odd"] = answer
    assert told in web.refusal("https://voices.example.com/odd", max_bytes=100_000)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Type": "video/mp4"},
        {"Content_Type": "AUDIO/Ogg; codecs=opus"},
        {"Content_Type": "application/ogg", "Content_Encoding": "identity"},
        {"Content_Type": "application/octet-stream"},
        {"Content_Type": "binary/octet-stream"},
    ],
)
def test_recordings_come_as_many_types(web: Web, headers: dict[str, str]) -> None:
    web.site.answers["/odd"] = sends(b"x" * 1000, **headers)
    assert web.fetch("https://voices.example.com/odd", max_bytes=1000) == b"x" * 1000


def test_a_body_without_a_length_ends_with_its_connection(web: Web) -> None:
    web.site.answers["/stream"] = sends(b"x" * 1000, length=-1)
    assert web.fetch("https://voices.example.com/stream") == b"x" * 1000


def drips(start: bytes, drop: bytes) -> Answer:
    """Send the start, and then a drop now and then, for much longer than anybody should wait."""

    def answer(visit: BaseHTTPRequestHandler) -> None:
        visit.wfile.write(start)
        for _ in range(600):
            visit.wfile.write(drop)
            time.sleep(0.05)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        drips(b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n", b"x"),
        drips(b"HTTP/1.1 200 OK\r\n", b"X-Slow: 1\r\n"),
        drips(b"", b"H"),
        drips(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        lambda visit: time.sleep(2),
    ],
    ids=["body", "headers", "status", "hints", "silence"],
)
def test_a_slow_answer_ends_with_the_time(web: Web, answer: Answer) -> None:
    web.site.answers["/slow"] = answer
    before = time.monotonic()
    told = web.refusal("https://voices.example.com/slow", url_seconds=0.4)
    assert told == "ref_audio: fetching it took longer than 0.4 s."
    assert time.monotonic() - before < 15  # of 30


def test_a_slow_handshake_ends_with_the_time(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
        web.connect = lambda _, timeout: socket.create_connection(address, timeout)  # type: ignore[method-assign]
        assert "longer than 0.2 s" in web.refusal(SONG, url_seconds=0.2)


def test_a_slow_name_server_ends_with_the_time(web: Web) -> None:
    asked_no_more = threading.Event()
    waited: list[bool] = []

    def resolve(host: str, port: int) -> Sequence[str]:
        waited.append(asked_no_more.wait(30))
        return [PUBLIC]

    web.resolve = resolve  # type: ignore[method-assign]
    assert "longer than 0.2 s" in web.refusal(SONG, url_seconds=0.2)
    assert not waited
    asked_no_more.set()
    assert web.connected == []


def test_the_time_covers_all_redirects(web: Web) -> None:
    def later(visit: BaseHTTPRequestHandler) -> None:
        time.sleep(0.3)
        leads_to("/later")(visit)

    web.site.answers["/later"] = later
    assert "longer than 0.5 s" in web.refusal("https://voices.example.com/later", url_seconds=0.5)


def test_an_unknown_name_and_a_dead_host_are_the_clients_mistake(web: Web) -> None:
    assert "not known" in web.refusal("https://nowhere.example.com/")
    web.names[HOST] = []
    assert "not known" in web.refusal(SONG)
    web.names[HOST] = ["8.8.8.8"]
    assert "cannot be reached" in web.refusal(SONG)


def test_a_certificate_must_be_of_the_name_and_in_force(
    site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    past = datetime.now(timezone.utc) - timedelta(days=1)
    long_past = past - timedelta(days=30)
    for one in (site("other.example.com"), site(HOST, not_before=long_past, not_after=past)):
        assert "no valid certificate" in Web(one).refusal(SONG)
        assert one.requests == []
    honest = site(HOST)
    monkeypatch.delenv("SSL_CERT_FILE")  # no machine trusts our authority
    assert "no valid certificate" in Web(honest).refusal(SONG)
    assert honest.requests == []


def test_a_host_without_tls_is_refused(web: Web) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        address = plain.getsockname()

        def greet() -> None:
            connection, _ = plain.accept()
            connection.recv(10_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\nsecret")
            connection.close()

        threading.Thread(target=greet, daemon=True).start()
        web.connect = lambda _, timeout: socket.create_connection(address, timeout)  # type: ignore[method-assign]
        told = web.refusal(SONG)
    assert told == "ref_audio: 'voices.example.com' cannot be reached by https."
