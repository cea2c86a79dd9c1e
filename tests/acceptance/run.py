"""`make accept NAME=loop`: clone HEAD into a new folder and run one real command for each promise."""

import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[2]


def main(name: str) -> int:
    """Print and keep the table; 1 when a promise is not held."""
    rows = yaml.safe_load((PROJECT / "tests" / "acceptance" / f"{name}.yaml").read_text())
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout
    results = []
    with tempfile.TemporaryDirectory(prefix="airloom accept ") as folder, _taken_ports():
        clone, known = Path(folder) / "a clone", dict[str, str]()
        subprocess.run(["git", "clone", "-q", str(PROJECT), str(clone)], check=True)
        try:
            for row in rows:
                results.append(_try(row, clone, known))
                print("  ".join(results[-1]), flush=True)
        finally:
            _command(["make", "down"], clone)
    _keep(name, commit.strip(), results)
    return int(any(result[-1] != "PASS" for result in results))


def _try(row: dict, clone: Path, known: dict[str, str]) -> tuple[str, str, str, str]:
    commands = [[word.format(**known) for word in row[key]] for key in ("run", "then") if key in row]
    began, output, ok = time.monotonic(), "", True
    for command in commands:
        done = _command(command, clone)
        output += done.stdout
        ok = ok and done.returncode == 0
    missing = [text for text in row.get("expect", []) if not re.search(text, output)]
    unwanted = [text for text in row.get("absent", []) if re.search(text, output)]
    for key, pattern in row.get("capture", {}).items():
        found = re.findall(pattern, output)
        known[key] = found[-1] if found else "missing"
    ok = ok and not missing and not unwanted
    seen = [match.group(0) for text in row.get("expect", []) if (match := re.search(text, output))]
    observed = "; ".join(seen) or ("exit 0" if ok else "")
    if not ok:
        observed = f"missing {missing}, unwanted {unwanted}: {output[-600:]}"
    shown = " && ".join(" ".join(command) for command in commands)
    took = f"{time.monotonic() - began:.0f} s"
    return row["promise"], shown, f"{observed} ({took})".replace("\n", " "), "PASS" if ok else "FAIL"


def _command(command: list[str], clone: Path) -> "subprocess.CompletedProcess[str]":
    # Where packages come from is the machine's affair: pip's own variables are passed on, nothing else is.
    pip = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", **pip}
    return subprocess.run(
        command, cwd=clone, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )


class _taken_ports:
    """Occupy the default ports, as another program would."""

    def __enter__(self) -> None:
        self.sockets = []
        for port in (8080, 5000, 3000):
            taken = socket.socket()
            try:
                taken.bind(("127.0.0.1", port))
                taken.listen()
            except OSError:  # somebody has it already, which is just as well
                pass
            self.sockets.append(taken)

    def __exit__(self, *_: object) -> None:
        for taken in self.sockets:
            taken.close()


def _keep(name: str, commit: str, results: list[tuple[str, str, str, str]]) -> None:
    lines = [
        f"# Acceptance: {name}",
        "",
        f"Commit {commit}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}.",
        "",
    ]
    lines += ["| promise | command | observed | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in result)} |" for result in results]
    path = PROJECT / "docs" / "acceptance" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
