"""A place for snapshots as the double sees it: a folder, or a bucket that is reached by HTTP.

As in the real one a bucket is named by `--dir=s3://BUCKET/PREFIX`, reached at `--s3_endpoint`, and
who asks is known by AWS_ACCESS_KEY_ID of the environment. The signature is left out.
"""

import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

CLOUD: Final = "s3://"
LIMIT_S: Final = 5.0


class Folder:
    """Files on a disk; a file has its name only once it is complete."""

    def put(self, path: str, content: bytes) -> None:
        temporary = Path(f"{path}.tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)

    def get(self, path: str) -> bytes:
        return Path(path).read_bytes()


class Bucket:
    """Objects in a bucket. Raises OSError as a folder does."""

    def __init__(self, endpoint: str, scheme: str) -> None:
        self.address = f"{scheme}://{endpoint}"
        self.key = os.environ.get("AWS_ACCESS_KEY_ID", "")

    def put(self, path: str, content: bytes) -> None:
        self._ask("PUT", path, content)

    def get(self, path: str) -> bytes:
        return self._ask("GET", path, None)

    def _ask(self, method: str, path: str, content: bytes | None) -> bytes:
        url = f"{self.address}/{path.removeprefix(CLOUD)}"
        headers = {"Authorization": f"AWS4-HMAC-SHA256 Credential={self.key}/day/region/s3"}
        request = urllib.request.Request(url, content, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
                found: bytes = answer.read()
                return found
        except urllib.error.HTTPError as error:
            raise OSError(error.code, f"S3 answers {error.code}") from error


def place_of(flags: dict[str, str]) -> Folder | Bucket:
    if not flags.get("dir", "").startswith(CLOUD):
        return Folder()
    scheme = "http" if flags.get("s3_use_https") == "false" else "https"
    return Bucket(flags.get("s3_endpoint", "s3.amazonaws.com"), scheme)
