"""The demo's last words."""

from typing import Any


def render(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = ["", "Airloom demo"]
    for name, facts in summary["rounds"].items():
        lines += _round(name, facts)
    addresses = summary["addresses"]
    mlflow_login = [f"login         {addresses['mlflow_user']} / {addresses['mlflow_password']}"]
    lines += [
        f"spoiled batch: no version; report {summary['spoiled_batch_report']}",
        f"serves: version {summary['served']}, the last that the gate let pass",
        f"live: {live(summary['health'])}",
        f"stack healthy in {summary['stack_start_s']} s, everything in {summary['seconds']} s",
        "",
        f"Airflow       {addresses['airflow_url']}",
        f"login         {addresses['airflow_user']} / {addresses['airflow_password']}",
        f"MLflow        {addresses['mlflow_url']}",
        *(mlflow_login if addresses["mlflow_user"] else []),
        f"model server  {addresses['server_url']}   token {addresses['server_token']}",
        f"try           airloom trace {summary['trace']}",
    ]
    return "\n".join(lines)


def live(health: dict[str, Any]) -> str:
    """What labels and drift say of the version that serves, in a line."""
    if health["accuracy"] is None:
        return f"version {health['version']} has no labelled prediction; {health['drift']}"
    low, high = health["interval"]
    measured = f"accuracy {health['accuracy']:.3f} ({low:.3f} to {high:.3f}) by {health['labelled']:,} late labels"
    return f"version {health['version']}: {measured}; {health['drift']}"


def _round(name: str, facts: dict[str, Any]) -> list[str]:
    verdict = f"version {facts['model_version']} promoted" if facts["passed"] else "refused"
    champion = facts["champion_accuracy"]
    against = f", the champion {champion:.3f}" if champion is not None else ", no champion yet"
    power = f", power {facts['power']:.2f}" if facts["power"] is not None else ""
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in facts["seconds"].items() if seconds is not None)
    lines = [
        f"{name}: digits@v{facts['dataset_version']}, {facts['trials']} trials ({facts['pruned']} pruned) -> {verdict}",
        f"  accuracy {facts['accuracy']:.3f} on {facts['test_rows']} test rows{against}{power}",
        *(f"  gate: {reason}" for reason in facts["reasons"]),
        f"  seconds: {steps}; in all {facts['from_commit_to_end_s']}",
    ]
    if "traffic" in facts:
        lines.append(
            f"  under traffic: {facts['traffic']['answered']} answered, {facts['traffic']['failed']} failed, "
            f"by version {dict(facts['traffic']['by_version'])}"
        )
    return lines
