"""Make the example's data: 800 short messages to a shop, said in many words, and what each is about."""

import csv
import random
import sys
from pathlib import Path

SAID = {
    "delivery": [
        "where is my {thing}",
        "my {thing} has not arrived",
        "when will the {thing} come",
        "no parcel with the {thing}",
    ],
    "refund": ["i want my money back for the {thing}", "please refund the {thing}", "pay me back, cancel the {thing}"],
    "broken": ["the {thing} is broken", "my {thing} stopped working", "the {thing} does not switch on"],
    "praise": ["the {thing} is great", "i love my new {thing}", "thank you, the {thing} works well"],
}
THINGS = ("lamp", "kettle", "radio", "phone", "chair", "bicycle", "clock", "printer", "heater", "camera")
OPENING = ("", "hello, ", "good morning, ", "dear team, ", "hi, ")


def main(file: Path, count: int = 800) -> None:
    """Write a CSV file with the columns text and topic."""
    draw = random.Random(7)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["text", "topic"])
        for number in range(count):
            topic = draw.choice(list(SAID))
            said = draw.choice(SAID[topic]).format(thing=draw.choice(THINGS))
            table.writerow([f"{draw.choice(OPENING)}{said} (order {number})", topic])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/messages.csv"))
