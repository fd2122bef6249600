"""Messages to real local servers that fail, refuse, redirect, hang, or encrypt."""

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from everfly.errors import RemoteError, SettingsError
from everfly.runtime.http_post import Poster, parse_answer, parse_target
from everfly.runtime.resolver import Resolver
from everfly.runtime.webhooks import QUEUE_MAX, TRIES_MAX, Webhook, WebhookQueue, sign
from processes import free_port
from shell_doubles import until
from web_client import Receiver

HOST = "127.0.0.1"
NO_PAUSE_S = 0.0


@contextlib.asynccontextmanager
async def delivering(
    url: str, *, certificates: ssl.SSLContext | None = None, timeout_s: float = 5.0
) -> AsyncIterator[WebhookQueue]:
    resolver = Resolver()
    webhook = Webhook("hook", parse_target(url), timeout_s, b"k" * 16)
    queue = WebhookQueue(
        webhook, Poster(resolver, certificates=certificates), backoff_min_s=NO_PAUSE_S
    )
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await resolver.close()


async def test_messages_arrive_in_order_and_each_has_an_id() -> None:
    with Receiver() as receiver:
        async with delivering(f"http://{HOST}:{receiver.port}/in?x=1") as queue:
            for number in range(5):
                queue.offer(b'{"n": %d}' % number)
            await until(lambda: queue.counts.delivered == 5)
        assert [post.body for post in receiver.posts] == [b'{"n": %d}' % n for n in range(5)]
        assert {post.path for post in receiver.posts} == {"/in?x=1"}
        assert len({post.headers["x-everfly-delivery"] for post in receiver.posts}) == 5
        assert queue.queued == 0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
async def test_what_may_pass_is_tried_again(status: int) -> None:
    with Receiver(answers=[status, status]) as receiver:
        async with delivering(f"http://{HOST}:{receiver.port}/") as queue:
            queue.offer(b"{}")
            await until(lambda: queue.counts.delivered == 1)
        assert queue.counts.retries == 2
        assert len(receiver.posts) == 3


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410])
async def test_a_refusal_or_a_redirect_is_final(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver(answers=[status]) as receiver:
        async with delivering(f"http://{HOST}:{receiver.port}/secret-path") as queue:
            queue.offer(b"1")
            queue.offer(b"2")
            await until(lambda: queue.counts.delivered == 1)
        assert queue.counts.failed == 1
        assert [post.body for post in receiver.posts] == [b"1", b"2"]
    assert f"it answers {status}" in caplog.text
    assert "secret-path" not in caplog.text


async def test_a_receiver_that_stays_down_is_given_up_after_some_tries() -> None:
    async with delivering(f"http://{HOST}:{free_port()}/") as queue:
        queue.offer(b"1")
        await until(lambda: queue.counts.failed == 1)
    assert queue.counts.retries == TRIES_MAX - 1


async def test_a_full_queue_drops_the_oldest() -> None:
    hung = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        hung.set()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with delivering(f"http://{HOST}:{port}/") as queue:
        for _ in range(QUEUE_MAX + 7):
            queue.offer(b"{}")
        await asyncio.wait_for(hung.wait(), 5)
        assert queue.counts.dropped == 7
        assert queue.queued == QUEUE_MAX
    server.close()


async def test_a_receiver_that_hangs_costs_its_time_limit_and_no_more() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, HOST, 0)
    port = server.sockets[0].getsockname()[1]
    async with delivering(f"http://{HOST}:{port}/", timeout_s=0.02) as queue:
        queue.offer(b"{}")
        await until(lambda: queue.counts.failed == 1)
    server.close()


def self_signed(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "cert.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x"
    command = ["openssl", *words.split(), "-keyout", str(key), "-out", str(certificate)]
    name = ["-addext", f"subjectAltName=IP:{HOST}"]
    subprocess.run([*command, *name], check=True, capture_output=True)
    return key, certificate


async def test_an_encrypted_receiver_is_reached_only_if_its_certificate_is_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, certificate = self_signed(tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate, key)
    bodies: list[bytes] = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            bodies.append(await reader.readexactly(2))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, HOST, 0, ssl=server_side)
    url = f"https://{HOST}:{server.sockets[0].getsockname()[1]}/"
    async with delivering(url, certificates=ssl.create_default_context()) as queue:
        queue.offer(b"{}")
        await until(lambda: queue.counts.failed == 1)
    assert "its certificate is not good" in caplog.text
    assert bodies == []
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with delivering(url, certificates=trusting) as queue:
        queue.offer(b"{}")
        await until(lambda: queue.counts.delivered == 1)
    assert bodies == [b"{}"]
    server.close()


def test_a_signature_covers_time_and_body() -> None:
    # By another program.
    expected = subprocess.run(
        ["openssl", "dgst", "-sha256", "-hmac", "0123456789abcdef"],
        input=b"1700000000.{}",
        capture_output=True,
        check=True,
    ).stdout.decode()
    assert sign(b"0123456789abcdef", 1_700_000_000, b"{}") == f"v1={expected.split()[-1]}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("ftp://host/", "http:// or https://"),
        ("https:///path", "name a host"),
        ("https://user:pass@host/", "user and password"),
        ("https://host:99999/", "no address"),
        ("https://host/a b", "percent-encoded"),
        ("https://host/\r\nX: y", "percent-encoded"),
        ("https://höst/", "percent-encoded"),
        ("https://host/" + "a" * 3000, "longer"),
    ],
)
def test_a_wrong_address_is_refused_without_being_shown(url: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as caught:
        parse_target(url)
    assert "host" not in str(caught.value).replace("name a host", "")


def test_an_address_is_shown_without_its_path() -> None:
    target = parse_target("https://hooks.example.com/services/T0/B0/secret?key=secret")
    assert "secret" not in f"{target} {target!r}"
    assert target.host_header == "hooks.example.com"
    assert parse_target("http://[::1]:8080").host_header == "[::1]:8080"


def test_what_is_no_http_is_told() -> None:
    for head in (b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 999 x\r\n\r\n", b"\r\n\r\n"):
        with pytest.raises(RemoteError):
            parse_answer(head)
    answer = parse_answer(b"HTTP/1.1 429 Slow\r\nA: b\r\nRetry-After: 7\r\n\r\n")
    assert (answer.status, answer.retry_after_s) == (429, 7)
