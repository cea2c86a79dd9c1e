"""A client that keeps asking the model server while a promotion goes on, and counts what it gets."""

import threading
from collections import Counter

import httpx

from airloom.settings import Settings


class Traffic:
    """Sends one image after another until it is stopped. Use as a context manager.

    `versions` counts the answers by model version; `failures` holds every answer that was not 200; `last_id` is the
    newest prediction id; `asked` has the image's place in `instances` of each prediction id.
    """

    def __init__(self, settings: Settings, model: str, instances: list[list[list[list[float]]]]) -> None:
        self.versions: Counter[str] = Counter()
        self.failures: list[str] = []
        self.last_id = ""
        self.asked: dict[str, int] = {}
        self._model, self._instances = model, instances
        self._stop = threading.Event()
        self._client = httpx.Client(
            base_url=settings.model_server,
            headers={"Authorization": f"Bearer {settings.model_token}"},
            timeout=10,
            trust_env=False,
        )
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._client.close()

    @property
    def answered(self) -> int:
        """Answers with status 200 so far."""
        return sum(self.versions.values())

    def ask(self, number: int = 0) -> dict[str, object]:
        """Send one image; count and return the answer."""
        body = {"model": self._model, "instances": [self._instances[number % len(self._instances)]]}
        try:
            answer = self._client.post("/predict", json=body)
        except httpx.HTTPError as error:
            self.failures.append(repr(error))
            return {}
        if answer.status_code != 200:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")
            return {}
        values = dict(answer.json())
        self.versions[str(values["version"])] += 1
        self.last_id = values["prediction_ids"][0]
        self.asked[self.last_id] = number % len(self._instances)
        return values

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(0.04):  # about twenty requests a second leave the cores to the training
            self.ask(number)
            number += 1
