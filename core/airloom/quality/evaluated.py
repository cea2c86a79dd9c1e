"""What the evaluation of a version kept of its test rows: answers, probabilities, labels, slices."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airloom.errors import AirloomError, DataError
from airloom.evaluation import predictions
from airloom.evaluation.evaluate import PREDICTIONS
from airloom.settings import Settings
from airloom.spec.load import DEFINITION
from airloom.spec.pipeline import Slice
from airloom.tracking import runs

if TYPE_CHECKING:
    from airloom.evaluation.predictions import PredictedRows


def test_rows(settings: Settings, run: str) -> "PredictedRows":
    """The test rows with what the version answered.

    Args:
        settings: of this installation.
        run: the MLflow run that evaluated it.

    Raises:
        DataError: they are gone.
    """
    from mlflow.exceptions import MlflowException

    api = runs.reader(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-drift-") as place, runs.connection_errors(settings):
        try:
            path = Path(api.download_artifacts(run, PREDICTIONS, place))
        except (MlflowException, OSError) as error:
            raise DataError(f"the evaluation's predictions are gone: {str(error)[:120]}") from None
        return predictions.read(path, with_champion=False)


def slices(settings: Settings, run: str) -> Mapping[str, Slice]:
    """The slices of the pipeline file that a run was resolved with; none where nobody knows that file any more.

    Args:
        settings: of this installation.
        run: its MLflow run.
    """
    from mlflow.exceptions import MlflowException

    api = runs.reader(settings)
    with tempfile.TemporaryDirectory(prefix="airloom-drift-") as place, runs.connection_errors(settings):
        try:
            values: dict[str, Any] = json.loads(Path(api.download_artifacts(run, DEFINITION, place)).read_bytes())
            found = values.get("evaluate", {}).get("slices", {})
            return {name: Slice.model_validate(one) for name, one in found.items()}
        except (MlflowException, OSError, ValueError, AttributeError, AirloomError):
            return {}
