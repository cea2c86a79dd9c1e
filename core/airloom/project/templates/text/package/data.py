"""Make the example's data: 1,200 short messages to a shop, and what each is about."""

import csv
import random
import sys
from pathlib import Path

SAID = {
    "delivery": ["where is my {thing}", "my {thing} has not arrived {when}", "when will the {thing} be delivered"],
    "refund": [
        "i want my money back for the {thing}",
        "please refund the {thing}",
        "cancel the {thing} and pay me back",
    ],
    "broken": ["the {thing} is broken", "my {thing} stopped working {when}", "the {thing} does not switch on"],
    "praise": ["the {thing} is great", "i love my new {thing}", "thank you for the {thing}, it works well"],
}
THINGS = ("lamp", "kettle", "radio", "phone", "chair", "bicycle", "clock", "printer", "heater", "camera")
WHEN = ("yesterday", "today", "this week", "since monday", "after a month")
OPENING = ("", "hello, ", "good morning, ", "dear team, ", "hi, ")


def main(folder: Path) -> None:
    """Write `messages.csv` with the columns text and topic."""
    draw = random.Random(7)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "messages.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["text", "topic"])
        for number in range(1200):
            topic = draw.choice(list(SAID))
            said = draw.choice(SAID[topic]).format(thing=draw.choice(THINGS), when=draw.choice(WHEN))
            table.writerow([f"{draw.choice(OPENING)}{said} (order {number})", topic])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data"))
