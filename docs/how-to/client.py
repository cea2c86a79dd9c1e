"""Ask the model server from an application: `python client.py MODEL '[[7, 812]]'`."""

import json
import os
import sys
import time

import httpx

ADDRESS, TOKEN = os.environ["AIRLOOM_SERVER_URL"], os.environ["AIRLOOM_SERVER_TOKEN"]  # as `airloom up` prints them


def predict(model, instances, **more):
    """What the server answers; `scores=True` and `top=3` ask for probabilities. An error has the server's reason."""
    for _ in range(5):
        body = {"model": model, "instances": instances, **more}
        answer = httpx.post(f"{ADDRESS}/predict", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        if answer.status_code != 503:  # busy: it says when to ask again
            break
        time.sleep(float(answer.headers.get("Retry-After", 1)))
    if answer.is_error:
        raise RuntimeError(answer.json()["error"])
    return answer.json()


if __name__ == "__main__":
    print(json.dumps(predict(sys.argv[1], json.loads(sys.argv[2]), top=1)))
