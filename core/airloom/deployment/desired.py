"""What should serve, of all models of an installation at once: what each model server asks again and again."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airloom.deployment.record import Deployment
from airloom.deployment.rollout import Rollout
from airloom.errors import RegistryError
from airloom.names import owner_of
from airloom.tracking import runs

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Desired:
    """What should serve of one model.

    Attributes:
        champion: the version with the alias; empty for none. Where evidence is asked of one that a person moved the
            alias to, the record's until somebody has looked.
        record: what the deployment record says.
        problem: why there is none; empty where there is.
        alias: the version that waits for that look; empty for none.
    """

    champion: str
    record: Deployment
    problem: str = ""
    alias: str = ""

    @property
    def rollout(self) -> Rollout | None:
        """The version on its way, while record and alias agree on the champion that it stands beside."""
        return self.record.rollout if self.champion and self.champion == self.record.champion else None

    @property
    def is_moved(self) -> bool:
        """Whether a person moved the alias past the record."""
        return not self.problem and (self.alias or self.champion) != self.record.champion


def desired(client: "MlflowClient", installation: str) -> dict[str, Desired]:
    """By model of an installation, those without champion and record left out.

    One request for each thousand models of all installations.
    """
    # A search for models tells their aliases; one for versions does not (MLflow 3.17).
    registered = runs.pages(client.search_registered_models)
    owned = [model for model in registered if owner_of(model.name) == installation]
    found = {model.name: _of(str(model.aliases.get("champion", "")), dict(model.tags)) for model in owned}
    return {name: wanted for name, wanted in found.items() if wanted.champion or wanted.record.champion}


def _of(champion: str, tags: dict[str, str]) -> Desired:
    try:
        record = Deployment.of_tags(tags)
    except RegistryError as error:
        return Desired(champion, Deployment(), str(error))
    if record.evidence and champion and champion != record.champion:
        return Desired(record.champion, record, alias=champion)
    return Desired(champion, record)
