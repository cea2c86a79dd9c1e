"""The files of a registered version, which are fetched only when somebody whom we trust vouches for it."""

from pathlib import Path
from typing import TYPE_CHECKING

from airloom.registry import models, signatures
from airloom.settings import Settings
from airloom.tracking import artifacts

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def fetch_signed(settings: Settings, version: "ModelVersion", cache: Path) -> tuple[Path, dict[str, str]]:
    """The folder of a version's files, and the sha256 of each. The signature is verified before a file is touched.

    Args:
        settings: of this installation.
        version: with its tags.
        cache: its files go to a folder below; what is there already is compared with its digests.

    Raises:
        SignatureRefused: no key that is trusted here signed it as it is.
        CorruptFile: a file differs from its digest, is missing, or is not recorded.
        RegistryError: it was made without Airloom, its files were collected, or MLflow does not answer.
    """
    signatures.check(settings, version)
    models.check_collected(settings, version)
    uri, digests = models.uri_of(version), models.digests_of(version)
    return artifacts.fetch_model(settings, uri, digests, cache / artifacts.model_id(uri)), digests
