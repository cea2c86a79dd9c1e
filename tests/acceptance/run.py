"""`make accept NAME=loop`: clone HEAD into a new folder and run one real command for each promise.

`make accept NAME="loop jobs"` tries several, one after the other, in the same clone, which is as new for each, but for
its `.venv`.

A row of `<name>.yaml` has `promise` and:
    run, then       commands; `then` follows in the same row
    look            instead of `run`: the output of the row that was kept under this name
    keep            a name for this row's output
    fails           true where `run` must end with an error; then it may show no traceback of its own (a line of a
                    job's log, which may have that of a training function, begins with the name of its step)
    fresh           true at a table's first row: what developing needs is not installed before it
    home            a state folder of its own, below the clone; the default is .airloom
    expect, absent  regular expressions over everything printed
    at_most         bounds by regular expression, over the number that its group finds; `seconds` for the row itself
    capture         name -> regular expression; {name} stands for what it found in later commands
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[2]
PORTS = (8080, 5000, 3000)


@dataclass
class Trial:
    """A clone, and what its rows have found out so far."""

    clone: Path
    home: Path
    known: dict[str, str] = field(default_factory=dict)
    outputs: dict[str, tuple[str, bool, str]] = field(default_factory=dict)

    def row(self, row: dict[str, Any]) -> tuple[str, str, str, str]:
        """Try one row: promise, command, observed, verdict."""
        began = time.monotonic()
        shown, ok, output = self.outputs[row["look"]] if "look" in row else self._commands(row)
        took = time.monotonic() - began
        if "keep" in row:
            self.outputs[row["keep"]] = (shown, ok, output)
        for key, pattern in row.get("capture", {}).items():
            self.known[key] = (re.findall(pattern, output) or ["missing"])[-1]
        seen, problems = _judge(row, output, took)
        problems += [] if ok else [f"it ended with an error: {output[-800:]}"]
        time_taken = "" if "look" in row else f" ({took:.0f} s)"
        observed = "; ".join(problems or seen or ["as promised"]) + time_taken
        return row["promise"], shown, " ".join(observed.split()), "FAIL" if problems else "PASS"

    def _commands(self, row: dict[str, Any]) -> tuple[str, bool, str]:
        commands = [[word.format(**self.known) for word in row[key]] for key in ("run", "then") if key in row]
        output, ok = "", True
        for command in commands:
            done = self.command(command, row.get("home"))
            output += done.stdout
            ok = ok and bool(done.returncode) == bool(row.get("fails"))
        ok = ok and not (row.get("fails") and re.search("^Traceback", output, re.MULTILINE))
        prefix = f"AIRLOOM_HOME={row['home']} " if "home" in row else ""
        return " && ".join(prefix + " ".join(command) for command in commands), ok, output

    def command(self, command: list[str], home: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run it with a bare PATH and an empty HOME."""
        # Where packages come from and are cached is the machine's affair: pip's variables are passed on, no others.
        environment = {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
        environment |= {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.home)}
        environment |= {"AIRLOOM_HOME": str(self.clone / home)} if home else {}
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.run(command, cwd=self.clone, env=environment, text=True, check=False, **pipes)


def main(names: list[str]) -> int:
    """Print and keep a table for each; 1 when a promise is not held."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    tables = {name: yaml.safe_load((PROJECT / "tests/acceptance" / f"{name}.yaml").read_text()) for name in names}
    commit, held = _git("rev-parse", "HEAD"), True
    with tempfile.TemporaryDirectory(prefix="airloom accept ") as folder, _taken_ports():
        clone = Path(folder) / "a clone"
        _git("clone", "-q", str(PROJECT), str(clone))
        for name, rows in tables.items():
            load = os.getloadavg()[1]
            results = _tried(rows, clone, Path(folder) / f"an empty home for {name}")
            _keep(name, commit, results, load)
            held = held and all(result[-1] == "PASS" for result in results)
            subprocess.run(["git", "clean", "-ffdxq", "--exclude", ".venv"], cwd=clone, check=True)
            subprocess.run(["git", "checkout", "-q", commit, "."], cwd=clone, check=True)
    return int(not held)


def _tried(rows: list[dict[str, Any]], clone: Path, home: Path) -> list[tuple[str, str, str, str]]:
    """The rows of one table, in their order; what they started is stopped."""
    trial, results = Trial(clone, home), []
    home.mkdir()
    if not rows[0].get("fresh"):
        trial.command(["make", "install"])
    try:
        for row in rows:
            results.append(trial.row(row) if "run" in row or "look" in row else _not_done(row))
            print(" | ".join(results[-1]), flush=True)
    finally:
        for name in {row.get("home") for row in rows}:
            trial.command(["make", "down"], name)
    return results


def _not_done(row: dict[str, Any]) -> tuple[str, str, str, str]:
    return row["promise"], "", row.get("why", ""), "NOT DONE"


def _judge(row: dict[str, Any], output: str, took: float) -> tuple[list[str], list[str]]:
    """What was seen, and what is wrong with it."""
    seen, problems = [], []
    for text in row.get("expect", []):
        found = re.search(text, output)
        (seen if found else problems).append(found[0] if found else f"missing {text!r} in {output[-800:]!r}")
    problems += [f"unwanted {text!r}" for text in row.get("absent", []) if re.search(text, output)]
    for text, bound in row.get("at_most", {}).items():
        found = None if text == "seconds" else re.search(text, output)
        value = took if text == "seconds" else float(found[1]) if found else float("inf")
        fact = f"{found[0] if found else f'{value:.0f} s'}, at most {bound}"
        (seen if value <= bound else problems).append(fact)
    return seen, problems


class _taken_ports:
    """Occupy the default ports, as another program would."""

    def __enter__(self) -> None:
        self.sockets = []
        for port in PORTS:
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


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _keep(name: str, commit: str, results: list[tuple[str, str, str, str]], load: float) -> None:
    lines = [f"# Acceptance: {name}", ""]
    lines += [
        f"`make accept NAME={name}` at commit {commit}, {os.cpu_count()} CPUs, Python {sys.version.split()[0]}.",
        "The commands ran in a fresh clone, in a folder with a space, with a bare PATH and an empty HOME.",
        f"Load average of the five minutes before, which is other programs' work: {load:.1f}.",
        f"{[result[-1] for result in results].count('PASS')} of {len(results)} promises PASS.",
        "",
    ]
    lines += ["| promise | command | observed | |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in result)} |" for result in results]
    path = PROJECT / "docs" / "acceptance" / f"{name}.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split()))
