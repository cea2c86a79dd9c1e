"""The stack's configuration, and what `down` finds."""

import configparser
import json
import os
import shlex
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from airloom.files import write_private
from airloom.settings import Settings
from airloom.stack import airflow, config, control, report
from airloom.stack.ports import Ports


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "a home; 100%", project=Path(__file__).parents[4])


@pytest.fixture
def ports() -> Iterator[Ports]:
    with Ports() as made:
        yield made


def test_secrets_are_random_kept_and_private(settings: Settings, ports: Ports) -> None:
    first = config.prepare(settings, ports)
    again = config.prepare(settings, ports)
    assert first["server_token"] == again["server_token"]
    assert first["jwt_secret"] != first["api_secret"]
    for name in ("stack.json", "airflow/passwords.json"):
        assert stat.S_IMODE((settings.home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700


def test_a_taken_port_is_avoided(settings: Settings, ports: Ports) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        kept = config.prepare(settings, ports) | {"airflow_port": port}
        write_private(settings.home / "stack.json", json.dumps(kept))
        settings.__dict__.pop("stack", None)
        values = config.prepare(settings, ports)
    chosen = {values[f"{name}_port"] for name in config.DEFAULT_PORTS}
    assert port not in chosen
    assert len(chosen) == 3


def test_stacks_that_start_at_once_choose_different_ports(ports: Ports) -> None:
    wanted = ports.choose(0)  # nobody listens there yet
    with Ports() as others:
        chosen = [others.choose(wanted) for _ in range(20)]
        assert len({wanted, *chosen}) == 21
    with Ports() as later:
        assert later.choose(chosen[0]) == chosen[0]
        assert later.choose(wanted) != wanted


def test_supervisors_configuration_survives_spaces_and_percent_signs(settings: Settings, ports: Ports) -> None:
    config.prepare(settings, ports)
    parser = configparser.ConfigParser(inline_comment_prefixes=(" ;",))
    parser.read_string(config.supervisor_config(settings))
    for process in config.processes(settings):
        assert tuple(shlex.split(parser[f"program:{process.name}"]["command"])) == process.command
    assert str(settings.home) in parser["supervisord"]["pidfile"]


def test_everything_listens_on_loopback(settings: Settings, ports: Ports) -> None:
    config.prepare(settings, ports)
    assert config.airflow_environment(settings)["AIRFLOW__API__HOST"] == "127.0.0.1"
    for process in config.processes(settings):
        if process.name in {"mlflow", "model-server"}:
            assert process.command[process.command.index("--host") + 1] == "127.0.0.1"
        if process.name in {"airflow-scheduler", "airflow-triggerer"}:
            assert "--skip-serve-logs" in process.command


def test_only_airflow_has_airflows_secrets(settings: Settings, ports: Ports, monkeypatch: pytest.MonkeyPatch) -> None:
    config.prepare(settings, ports)
    secrets = [settings.stack[name] for name in ("fernet_key", "jwt_secret", "api_secret", "airflow_password")]
    everybody = config.environment(settings)
    written = config.supervisor_config(settings) + "".join(everybody.values())
    assert not [name for name in everybody if name.startswith("AIRFLOW")]
    assert not [secret for secret in secrets if secret in written]
    became: list = []
    monkeypatch.setattr(os, "execve", lambda *arguments: became.append(arguments))
    monkeypatch.setenv("AIRLOOM_HOME", str(settings.home))
    airflow.main(["scheduler"])
    ((_, command, environment),) = became
    assert command == [sys.executable, "-m", "airflow", "scheduler"]
    assert environment["AIRFLOW__CORE__FERNET_KEY"] == settings.stack["fernet_key"]
    assert environment["AIRFLOW__API_AUTH__JWT_SECRET"] == settings.stack["jwt_secret"]


def test_down_ends_what_carries_the_mark_and_nothing_else(settings: Settings) -> None:
    settings.make_home()
    sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours = subprocess.Popen(sleep, env={config.MARK: str(settings.home)}, start_new_session=True)
    shell = subprocess.Popen(sleep, env={"AIRLOOM_HOME": str(settings.home)}, start_new_session=True)
    try:
        assert control.sweep(settings) == 1
        assert not psutil.pid_exists(ours.pid)
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def test_a_recycled_pid_is_not_taken_for_the_supervisor(settings: Settings) -> None:
    write_private(settings.make_home() / "run" / "supervisord.pid", str(os.getpid()))
    assert psutil.pid_exists(os.getpid())
    assert control.supervisor_pid(settings) is None


@pytest.mark.parametrize("old_file", ["", "999999999", "its own"])
def test_a_supervisor_whose_pid_file_comes_late_is_found(settings: Settings, tmp_path: Path, old_file: str) -> None:
    run = settings.make_home() / "run"
    if old_file:
        write_private(run / "supervisord.pid", str(os.getpid()) if old_file == "its own" else old_file)
    # Its pid file never comes where it is looked for, however long one waits.
    elsewhere = tmp_path / "elsewhere.pid"
    lines = ["[supervisord]", f"pidfile={elsewhere}", f"logfile={tmp_path / 'log'}", f"directory={tmp_path}"]
    (tmp_path / "supervisord.conf").write_text("\n".join(lines))
    command = [sys.executable, "-m", control.SUPERVISOR, "-c", str(tmp_path / "supervisord.conf")]
    subprocess.run(command, env={config.MARK: str(settings.home)}, check=True)  # a daemon by now
    try:
        found = control.supervisor_pid(settings)
        assert found is not None
        assert control.SUPERVISOR in psutil.Process(found).cmdline()
        assert control.down(settings, lambda _: None) == 1
        assert control.supervisor_pid(settings) is None
        assert not psutil.pid_exists(found)
    finally:
        control.sweep(settings)


def test_doctor_names_a_secret_that_others_can_read(settings: Settings, ports: Ports) -> None:
    config.prepare(settings, ports)
    (settings.home / "stack.json").chmod(0o644)
    finding = report._secrets(settings)
    assert not finding.ok
    assert "chmod" in finding.fix


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", "{}", '{"mlflow_url": "http://127.0.0.1:1"}'])
def test_doctor_names_a_stack_file_that_is_nonsense_and_looks_at_all_else(settings: Settings, text: str) -> None:
    write_private(settings.make_home() / "stack.json", text)
    findings = {finding.check: finding for finding in report.doctor(settings)}
    assert not findings["stack.json"].ok
    assert "stack.json" in findings["stack.json"].detail
    assert "airloom up" in findings["stack.json"].fix
    assert {"git", "python", "disk", "project", "secrets"} <= set(findings)


@pytest.mark.parametrize("name", [*report.DATABASES, "demo.json", "devices/cuda-0.json"])
def test_doctor_names_each_other_file_that_is_nonsense(settings: Settings, name: str) -> None:
    (settings.make_home() / name).parent.mkdir(exist_ok=True)
    (settings.home / name).write_text("nonsense")
    failed = {finding.check: finding for finding in report.doctor(settings) if not finding.ok}
    assert name in failed
    assert str(settings.home / name) in failed[name].detail


def test_down_ends_a_stack_whose_file_is_nonsense(settings: Settings) -> None:
    write_private(settings.make_home() / "stack.json", "")
    assert control.down(settings, lambda _: None) == 0


def test_status_before_the_first_start_says_so(settings: Settings) -> None:
    stack = report.status(settings)
    assert not stack.healthy
    assert "airloom up" in report.render_status(stack)
