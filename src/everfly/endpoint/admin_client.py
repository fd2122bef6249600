"""Ask the admin address of an endpoint, blocking, with a limit of time and size."""

import http.client
import json
import urllib.parse
from typing import Final

from everfly.errors import RemoteError, SettingsError, Unavailable

HTTP_S: Final = 15.0
"""A question for news is kept open for five seconds."""
ANSWER_BYTES_MAX: Final = 1_048_576

Json = dict[str, object]


def ask(url: str, token: str, method: str, path: str, told: Json | None = None) -> Json:
    """Return the object that is answered, also by one that refuses.

    Raises Unavailable when nobody answers, SettingsError for a wrong address, RemoteError for what
    is no JSON.
    """
    parts = urllib.parse.urlsplit(url if "//" in url else f"http://{url}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingsError(f"{url!r} is no address; give --admin http://HOST:PORT")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=HTTP_S)
    headers = {"Content-Type": "application/json"} if told is not None else {}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    body = None if told is None else json.dumps(told)
    try:
        connection.request(method, parts.path.rstrip("/") + path, body, headers)
        answer = connection.getresponse()
        data = answer.read(ANSWER_BYTES_MAX)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(f"the endpoint at {url} does not answer: {error}") from error
    finally:
        connection.close()
    try:
        found = json.loads(data)
    except ValueError as error:
        status = answer.status
        raise RemoteError(f"{url} is no admin address of an endpoint: HTTP {status}") from error
    if not isinstance(found, dict):
        raise RemoteError(f"{url} is no admin address of an endpoint: HTTP {answer.status}")
    return found
