"""A real Sentinel on a real group: what it shows before, during and after a failover."""

import contextlib
import hashlib
import hmac
import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kinds import HOST
from processes import Child, ask, free_port, until
from servers import Group
from web_client import Post, Receiver, get, samples

pytestmark = pytest.mark.integration

GROUP = "cache"
SECRET = "correct horse battery staple"
PASSWORD = "an-instance-password"


@dataclass
class Seen:
    """A group, one Sentinel that watches it, and who is told."""

    group: Group
    port: int
    http: int
    child: Child
    json_hook: Receiver
    slack_hook: Receiver

    def history(self) -> list[dict[str, object]]:
        entries = get(self.http, f"/api/history?group={GROUP}").json()["entries"]
        assert isinstance(entries, list)
        return entries

    def samples(self) -> dict[str, float]:
        return samples(get(self.http, "/metrics").body)

    def events(self) -> list[str]:
        return [str(entry["event"]) for entry in self.history()]


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Seen]:
    with contextlib.ExitStack() as stack:
        group = Group(tmp_path / "group", replicas=2, password=PASSWORD)
        stack.callback(group.kill)
        group.start()
        group.instances[2].ask("CONFIG", "SET", "replica-priority", "0")
        json_hook = stack.enter_context(Receiver(answers=[503]))
        slack_hook = stack.enter_context(Receiver())
        (tmp_path / "hook.secret").write_text(f"{SECRET}\n")
        port, http = free_port(), free_port()
        (tmp_path / "everfly.toml").write_text(
            f'metrics = "{HOST}:{http}"\n'
            'log_format = "json"\n'
            "[[webhooks]]\n"
            'name = "pager"\n'
            f'url = "http://{HOST}:{json_hook.port}/T0/hidden-path"\n'
            'secret_file = "hook.secret"\n'
            "[[webhooks]]\n"
            'name = "chat"\n'
            'kind = "slack"\n'
            'events = ["+switch-master"]\n'
            f'url = "http://{HOST}:{slack_hook.port}/chat"\n'
        )
        conf = tmp_path / "sentinel.conf"
        conf.write_text(
            f"port {port}\nbind {HOST}\n"
            f"sentinel monitor {GROUP} {HOST} {group.instances[0].port} 1\n"
            f"sentinel down-after-milliseconds {GROUP} 600\n"
            f"sentinel failover-timeout {GROUP} 5000\n"
            f"sentinel auth-pass {GROUP} {PASSWORD}\n"
        )
        command = [sys.executable, "-m", "everfly", "sentinel"]
        settings = ["--settings", str(tmp_path / "everfly.toml")]
        child = Child([*command, *settings, str(conf)], tmp_path / "log")
        stack.callback(child.kill)
        found = Seen(group, port, http, child, json_hook, slack_hook)

        def is_whole() -> bool:
            """The Sentinel is ready and knows both replicas, as they are by now."""
            if get(http, "/readyz").status != 200:
                return False
            replicas = get(http, f"/api/groups/{GROUP}").json()["replicas"]
            assert isinstance(replicas, list)
            priorities = sorted(replica["priority"] for replica in replicas)
            return priorities == [0, 100] and all(r["is_linked_to_primary"] for r in replicas)

        until(is_whole, 30, show=child.log_tail)
        yield found


def fail_over(seen: Seen) -> None:
    seen.group.instances[0].kill()
    until(lambda: "+failover-end" in seen.events(), 20, show=seen.child.log_tail)


def test_a_failover_is_counted_explained_and_told(seen: Seen) -> None:
    before = seen.samples()
    old, chosen, never = (f"{HOST}:{instance.port}" for instance in seen.group.instances)
    assert before['everfly_sentinel_group_good_replicas{group="cache"}'] == 2
    name = "everfly_sentinel_instance_subjectively_down"
    assert before[f'{name}{{group="cache",address="{old}",role="primary"}}'] == 0
    assert before['everfly_sentinel_ping_duration_seconds_count{group="cache"}'] > 0

    fail_over(seen)

    after = seen.samples()
    assert after['everfly_sentinel_failovers_total{group="cache",outcome="completed"}'] == 1
    assert after['everfly_sentinel_switches_total{group="cache",led_by="self"}'] == 1
    assert after['everfly_sentinel_votes_total{group="cache",given_to="self"}'] == 1
    assert after['everfly_sentinel_notices_total{event="+switch-master"}'] == 1
    assert after['everfly_sentinel_group_config_epoch{group="cache"}'] == 1
    phases = "everfly_sentinel_failover_phase_duration_seconds"
    for phase in ("detection", "election", "selection", "promotion", "reconfiguration", "total"):
        assert after[f'{phases}_count{{group="cache",phase="{phase}"}}'] == 1
    assert after[f'{phases}_sum{{group="cache",phase="total"}}'] < 20

    (choice,) = (e for e in seen.history() if str(e["text"]).startswith("choice of a new primary"))
    facts = choice["facts"]
    assert isinstance(facts, list)
    assert any(fact.startswith(f"{chosen} chosen: priority 100") for fact in facts)
    assert f"{never} rejected: priority 0" in facts
    (elected,) = (e for e in seen.history() if e["event"] == "+elected-leader")
    assert "1 of 1 votes needed" in str(elected["facts"])

    group = get(seen.http, f"/api/groups/{GROUP}").json()
    assert group["current_address"] == chosen

    posted = until(lambda: told(seen.json_hook, "+switch-master"), 20, show=seen.child.log_tail)
    assert posted is not None
    assert_signed(posted)
    message = json.loads(posted.body)
    assert message["group"] == GROUP
    assert message["severity"] == "warning"
    assert f"{never} rejected: priority 0" in message["why"]["facts"]
    first, second = seen.json_hook.posts[:2]
    # The first try was answered by 503: the same message comes again, under the same id.
    assert first.body == second.body
    assert first.headers["x-everfly-delivery"] == second.headers["x-everfly-delivery"]
    (chat,) = until(lambda: seen.slack_hook.posts, 10, show=seen.child.log_tail)
    assert chat.path == "/chat"
    assert "`+switch-master`" in json.loads(chat.body)["text"]
    counted = seen.samples()
    assert counted['everfly_sentinel_webhook_retries_total{webhook="pager"}'] == 1


def test_an_end_does_not_wait_for_a_webhook_that_hangs(seen: Seen) -> None:
    seen.json_hook.hangs = True
    ask(seen.port, "SENTINEL", "FAILOVER", GROUP)
    name = 'everfly_sentinel_webhook_queued{webhook="pager"}'
    until(lambda: seen.samples()[name], 10, show=seen.child.log_tail)
    seen.child.signal(signal.SIGTERM)
    assert seen.child.wait(3) == 0
    assert "messages are not delivered" in seen.child.log.read_text()


def told(hook: Receiver, event: str) -> Post | None:
    """A webhook was told of this event."""
    return next((post for post in hook.posts if json.loads(post.body)["event"] == event), None)


def assert_signed(post: Post) -> None:
    timestamp = post.headers["x-everfly-timestamp"].encode()
    digest = hmac.new(SECRET.encode(), timestamp + b"." + post.body, hashlib.sha256).hexdigest()
    assert post.headers["x-everfly-signature"] == f"v1={digest}"


def test_readiness_names_a_primary_that_is_gone(seen: Seen) -> None:
    for instance in seen.group.instances:
        instance.kill()
    until(lambda: get(seen.http, "/readyz").status == 503, 10, show=seen.child.log_tail)
    assert f"{GROUP}: " in get(seen.http, "/readyz").body
    assert get(seen.http, "/healthz").body == "ok\n"


def test_no_secret_is_shown_anywhere(seen: Seen) -> None:
    fail_over(seen)
    until(lambda: told(seen.json_hook, "+switch-master"), 20, show=seen.child.log_tail)
    paths = ("/", "/metrics", "/api/groups", f"/api/groups/{GROUP}", "/api/history", "/readyz")
    shown = [get(seen.http, path).body for path in paths]
    seen.child.signal(signal.SIGTERM)
    assert seen.child.wait(10) == 0
    shown.append(seen.child.log.read_text())
    for text in shown:
        for secret in (SECRET, PASSWORD, "hidden-path"):
            assert secret not in text


def test_the_log_is_one_object_a_line(seen: Seen) -> None:
    fail_over(seen)
    lines = [json.loads(line) for line in seen.child.log.read_text().splitlines()]
    (switch,) = (line for line in lines if line.get("event") == "+switch-master")
    assert switch["group"] == GROUP
    assert switch["level"] == "warning"
    assert switch["msg"] == f"+switch-master {switch['payload']}"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", switch["ts"])


def test_the_timeline_can_be_followed_by_numbers(seen: Seen) -> None:
    last = get(seen.http, "/api/history").json()["last_number"]
    assert entries(seen, f"after={last}") == []
    ask(seen.port, "SENTINEL", "SET", GROUP, "quorum", "1")
    assert [entry["event"] for entry in entries(seen, f"after={last}")] == ["+set"]
    assert len(entries(seen, "limit=1")) == 1
    assert get(seen.http, "/api/history?after=x").status == 400
    assert get(seen.http, "/api/groups/nobody").status == 404


def entries(seen: Seen, query: str) -> list[dict[str, object]]:
    found = get(seen.http, f"/api/history?{query}").json()["entries"]
    assert isinstance(found, list)
    return found
