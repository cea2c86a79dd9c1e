"""`airloom installation`."""

from typing import Annotated

import typer

from airloom.cli.console import Json, answer
from airloom.settings import load


def installation(
    take_over: Annotated[
        bool,
        typer.Option("--take-over", help="Give the name to this one: who has it is gone for ever."),
    ] = False,
    json_: Json = False,
) -> None:
    """Show the name of this installation, and who has it in its MLflow.

    AIRLOOM_NAMESPACE names an installation at its first start. Its models, experiments, runs and jobs are then its
    own also where others use the same MLflow: `production.digits` in MLflow, and `digits` here. The name never changes.
    """
    from airloom.files import is_new
    from airloom.tracking import runs
    from airloom.tracking.claim import Claim, called, known_id, look
    from airloom.tracking.claim import take_over as make_own

    settings = load()
    if is_new(settings.mlflow_uri) and not take_over:
        found = Claim(settings.installation, known_id(settings), "", "")
    else:
        api = runs.client(settings)
        with runs.connection_errors(settings):
            if take_over:
                make_own(settings, api)
            found = look(settings, api, known_id(settings))
    state = found.problem or ("its own" if found.holder else "nobody has claimed the name yet")
    lines = [f"{settings.home} is of {called(found.name)}", f"MLflow at {settings.mlflow_uri}: {state}"]
    answer({**found.to_dict(), "mlflow": settings.mlflow_uri}, json_, "\n".join(lines))
