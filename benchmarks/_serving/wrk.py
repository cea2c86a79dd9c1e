"""One turn of wrk against a server: requests a second, latency, and the CPU of the server's processes."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks._serving.servers import Server

_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3, "m": 6e4}


@dataclass(frozen=True)
class Load:
    """What a turn showed.

    Attributes:
        per_second: answered requests.
        median_ms: latency.
        p99_ms: latency; of a closed loop, so that a stall counts once.
        cpu: seconds of the server a request.
        refused: answers that are no success.
    """

    per_second: float
    median_ms: float
    p99_ms: float
    cpu: float
    refused: int


def run(server: Server, connections: int, seconds: int) -> Load:
    """Ask a server for so many seconds."""
    script = Path(server.folder) / f"{server.name}.lua"
    script.write_text(_SCRIPT.format(body=server.body_file, headers=_lua(server.headers)))
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s", str(script), server.url]
    before = server.cpu
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    used = server.cpu - before
    count = int(_number(r"(\d+) requests in", said))
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    refused = int(bad[1]) if bad else 0
    took = float(_number(r"requests in ([\d.]+)s", said))
    median, p99 = (_milliseconds(said, place) for place in ("50", "99"))
    return Load((count - refused) / took, median, p99, used / max(1, count), refused)


_SCRIPT = """local file = io.open("{body}", "rb")
wrk.body = file:read("*a")
file:close()
wrk.method = "POST"
{headers}
"""


def _lua(headers: dict[str, str]) -> str:
    return "\n".join(f'wrk.headers["{name}"] = "{value}"' for name, value in headers.items())


def _number(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"wrk said nothing of {pattern}:\n{text}")
    return found[1]


def _milliseconds(text: str, place: str) -> float:
    found = re.search(rf"{place}%\s+([\d.]+)(us|ms|s|m)", text)
    return float(found[1]) * _UNITS[found[2]] if found else float("nan")
