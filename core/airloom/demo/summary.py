"""The demo's last words."""

from typing import Any


def render(summary: dict[str, Any]) -> str:
    """The summary for people."""
    lines = ["", "Airloom demo"]
    for name, found in summary["rounds"].items():
        lines += _round(name, found)
    addresses = summary["addresses"]
    lines += [
        f"spoiled batch: no version; report {summary['spoiled_batch_report']}",
        f"serves: version {summary['served']}, the last that the gate let pass",
        f"stack healthy in {summary['stack_start_s']} s, everything in {summary['seconds']} s",
        "",
        f"Airflow       {addresses['airflow_url']}",
        f"login         {addresses['airflow_user']} / {addresses['airflow_password']}",
        f"MLflow        {addresses['mlflow_url']}",
        f"model server  {addresses['server_url']}   token {addresses['server_token']}",
        f"try           airloom trace {summary['trace']}",
        "The stack stays up until `airloom down`.",
    ]
    return "\n".join(lines)


def _round(name: str, found: dict[str, Any]) -> list[str]:
    verdict = f"version {found['model_version']} promoted" if found["passed"] else "refused"
    champion = found["champion_accuracy"]
    against = f", the champion {champion:.3f}" if champion is not None else ", no champion yet"
    power = f", power {found['power']:.2f}" if found["power"] is not None else ""
    steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in found["seconds"].items() if seconds is not None)
    lines = [
        f"{name}: digits@v{found['dataset_version']}, {found['trials']} trials ({found['pruned']} pruned) -> {verdict}",
        f"  accuracy {found['accuracy']:.3f} on {found['test_rows']} test rows{against}{power}",
        *(f"  gate: {reason}" for reason in found["reasons"]),
        f"  seconds: {steps}; in all {found['from_commit_to_end_s']}",
    ]
    if "traffic" in found:
        lines.append(
            f"  under traffic: {found['traffic']['answered']} answered, {found['traffic']['failed']} failed, "
            f"by version {dict(found['traffic']['by_version'])}"
        )
    return lines
