"""A program that knows nothing of Airloom: it reads variables, writes files, and trains."""

import json
import os

import numpy as np
import torch  # noqa: TID253 - somebody's script

data, out = np.load(os.environ["AIRLOOM_DATA"] + "/train.npz"), os.environ["AIRLOOM_OUTPUT"]
inputs, labels = torch.tensor(data["inputs"]), torch.tensor(data["labels"])
torch.manual_seed(int(os.environ["AIRLOOM_SEED"]))
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=float(os.environ["AIRLOOM_PARAM_LR"]))
with open(out + "/metrics.jsonl", "a") as file:  # noqa: PTH123 - somebody's script
    for step in range(5):
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(json.dumps({"step": step, "loss": loss.item()}), file=file, flush=True)
program = torch.export.export(model, (inputs[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},))
torch.export.save(program, out + "/model.pt2")
