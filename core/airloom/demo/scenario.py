"""The demo's story. Each act first looks at what is there, so that an interrupted demo goes on where it stopped."""

import json
import signal
import time
from typing import Any

from airloom.demo import rounds, summary
from airloom.demo.digits import FIRST_PART, Digits, load_digits
from airloom.demo.traffic import Traffic
from airloom.demo.view import DemoView
from airloom.errors import AirloomError, GateError, StackError, ValidationFailed
from airloom.files import read_json, write_private
from airloom.settings import Settings
from airloom.stack import control
from airloom.stack.airflow_api import AirflowApi

NAME = "digits"  # of the dataset, the pipeline and the model alike
REQUESTS = 500


def run(settings: Settings, view: DemoView) -> dict[str, Any]:
    """Play all acts; returns the summary.

    Raises:
        AirloomError: an act did not end as it must. Ctrl-C stops the stack.
    """
    began = time.monotonic()
    try:
        control.up(settings, view.log_line)
        stack_seconds = time.monotonic() - began
        digits = load_digits()
        with AirflowApi(settings) as api:
            first = _first_version(settings, api, digits, view)
            traced = _ask_and_trace(settings, digits, view)
            second = _second_version(settings, api, digits, first, view)
            refused = _permuted_labels(settings, api, digits, view)
        spoiled = _spoiled_batch(settings, digits, view)
        health = _health(settings, view)
        served = str(Traffic(settings, NAME, digits.instances).ask().get("version", ""))
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C would leave processes behind
        control.down(settings, view.log_line)
        raise StackError("interrupted; the stack is down", "`make demo` goes on from here") from None
    return {
        "rounds": {"first": first, "second": second, "permuted labels": refused},
        "spoiled_batch_report": spoiled,
        "trace": traced,
        "served": served,
        "health": health,
        "stack_start_s": round(stack_seconds, 1),
        "seconds": round(time.monotonic() - began, 1),
        "addresses": {key: settings.stack[key] for key in _ADDRESSES} | _mlflow_login(settings),
    }


def _mlflow_login(settings: Settings) -> dict[str, str]:
    user, password = settings.mlflow_credentials or ("", "")
    return {"mlflow_user": user, "mlflow_password": password}


_ADDRESSES = ("airflow_url", "airflow_user", "airflow_password", "mlflow_url", "server_url", "server_token")


def _first_version(settings: Settings, api: AirflowApi, digits: Digits, view: DemoView) -> dict[str, Any]:
    _commit(settings, digits.first, 1, f"the first {FIRST_PART} digits", view)
    run = rounds.find_run(api, NAME, 1)
    rounds.revive(api, NAME, run, view)
    tasks = rounds.wait(api, NAME, run, f"{NAME}@v1", view)
    facts = rounds.facts(api, NAME, run, tasks)
    if not facts["passed"]:
        raise GateError(f"the first model did not pass: {facts['reasons']}", "see the gate's evidence in MLflow")
    return facts


def _second_version(
    settings: Settings, api: AirflowApi, digits: Digits, first: dict[str, Any], view: DemoView
) -> dict[str, Any]:
    from airloom.deployment import record

    earlier = _recall(settings).get("second")
    if earlier:
        view.log_line(f"{NAME}@v2 was promoted under traffic by an earlier demo: {earlier['traffic']}")
        return dict(earlier)
    with Traffic(settings, NAME, digits.instances) as traffic:
        if _commit(settings, digits.second, 2, "the rest of the digits", view):
            run = rounds.find_run(api, NAME, 2)
        else:  # an earlier demo was interrupted: deploy again, now under traffic
            run = rounds.find_run(api, NAME, 2)
            rounds.revive(api, NAME, run, view)
            rounds.wait(api, NAME, run, f"{NAME}@v2", view)
            record.deploy(settings, NAME, first["model_version"])
            _until(lambda: first["model_version"] in traffic.versions, 30)
            api.clear(NAME, run, "deploy")
            time.sleep(1)
        tasks = rounds.wait(api, NAME, run, f"{NAME}@v2", view)
        facts = rounds.facts(api, NAME, run, tasks)
        if not facts["passed"]:
            raise GateError(f"{NAME}@v2 was not promoted: {facts['reasons']}", "see the gate's evidence in MLflow")
        wanted = {first["model_version"], facts["model_version"]}
        _until(lambda: traffic.answered >= REQUESTS and wanted <= set(traffic.versions), 60)
    _label(settings, digits, traffic, view)
    facts["traffic"] = {"answered": traffic.answered, "failed": len(traffic.failures), "by_version": traffic.versions}
    if traffic.failures or traffic.answered < REQUESTS or not wanted <= set(traffic.versions):
        raise StackError(
            f"the promotion was not seamless: {facts['traffic']} {traffic.failures[:3]}", "see the server log"
        )
    view.log_line(f"promotion under traffic: {dict(traffic.versions)} answers by version, none failed")
    _keep(settings, second=facts)
    return facts


def _label(settings: Settings, digits: Digits, traffic: Traffic, view: DemoView) -> None:
    """Tell what each image that was asked for shows, as an application does once it knows."""
    from airloom.quality import late_labels

    truth = {identity: digits.labels[place] for identity, place in traffic.asked.items()}
    added = late_labels.add(settings, truth, source="demo")
    view.log_line(f"{added.added} predictions get their label")


def _health(settings: Settings, view: DemoView) -> dict[str, Any]:
    """Live accuracy and drift of what serves, as `airloom labels show` and `airloom drift` say them."""
    from airloom.quality import by_label, drift
    from airloom.quality.window import Window

    (measured,) = by_label.measure(settings, f"{NAME}@champion")
    report = drift.analyse(settings, NAME, window=Window(rows=200)).report
    whole = measured.all
    health = {
        "version": measured.version,
        "labelled": whole.labelled,
        "accuracy": whole.metrics.get("accuracy"),
        "interval": whole.interval,
        "drift": report.headline,
    }
    view.log_line(f"live: {summary.live(health)}")
    return health


def _permuted_labels(settings: Settings, api: AirflowApi, digits: Digits, view: DemoView) -> dict[str, Any]:
    run = _recall(settings).get("permuted")
    if run:
        rounds.revive(api, NAME, run, view)
    else:
        run = api.trigger(NAME, {"dataset_version": 2, "parameters": {"permute_labels": True}})
        _keep(settings, permuted=run)
    view.log_line("a candidate is trained on permuted labels; the gate must refuse it")
    with Traffic(settings, NAME, digits.instances) as traffic:  # the champion serves on meanwhile
        tasks = rounds.wait(api, NAME, run, "permuted labels", view)
    _label(settings, digits, traffic, view)
    facts = rounds.facts(api, NAME, run, tasks)
    if facts["passed"] or tasks["deploy"]["state"] != "skipped":
        raise GateError("a model of permuted labels passed the gate", "this is a defect: please report it")
    return facts


def _spoiled_batch(settings: Settings, digits: Digits, view: DemoView) -> str:
    from airloom.datasets import versions
    from airloom.datasets.commit import commit

    before = versions.latest(settings, NAME).name
    try:
        commit(settings, NAME, digits.spoiled, message="a spoiled batch", source="demo")
    except ValidationFailed as refusal:
        report = refusal.report
    else:
        raise StackError("a spoiled batch became a version", "this is a defect: please report it")
    if versions.latest(settings, NAME).name != before:
        raise StackError("a spoiled batch moved the newest version", "this is a defect: please report it")
    view.log_line(f"a spoiled batch was refused: {report}")
    return report


def _ask_and_trace(settings: Settings, digits: Digits, view: DemoView) -> str:
    from airloom.lineage import trace

    traffic = Traffic(settings, NAME, digits.instances)
    answer = traffic.ask()
    if not answer:
        raise StackError(f"the model server did not answer: {traffic.failures}", "`airloom status`")
    text = trace.render(trace.trace(settings, traffic.last_id))
    view.log_line(f"version {answer['version']} says that a {digits.labels[0]} is a {answer['predictions']}")
    view.log_line(f"airloom trace {traffic.last_id}\n{text}")
    return traffic.last_id


def _commit(settings: Settings, table: Any, number: int, message: str, view: DemoView) -> bool:
    """Commit unless the version is there; whether it was made now."""
    from airloom.datasets import versions
    from airloom.datasets.commit import commit

    if any(version.number == number for version in _versions(settings, versions)):
        view.log_line(f"{NAME}@v{number} is committed already")
        return False
    version = commit(settings, NAME, table, message=message, source="scikit-learn's digits")
    view.log_line(f"{version.name} committed: {version.rows} rows, validated, {version.id[:12]}")
    return True


def _versions(settings: Settings, versions: Any) -> list[Any]:
    try:
        return list(versions.list_versions(settings, NAME))
    except AirloomError:  # no such dataset yet
        return []


def _until(done: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        time.sleep(0.1)


def _recall(settings: Settings) -> dict[str, Any]:
    return read_json(settings.home / "demo.json", "remove it, and start the demo again") or {}


def _keep(settings: Settings, **values: Any) -> None:
    write_private(settings.home / "demo.json", json.dumps(_recall(settings) | values, indent=1))
