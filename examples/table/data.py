"""Make the example's data: 3,000 customers, two numbers and two categories each, and whether they left."""

import csv
import math
import random
import sys
from pathlib import Path

CITIES = {"Bern": -1.2, "Graz": 0.4, "Lyon": 1.5, "Porto": -0.3, "Turku": 0.8}
PLANS = {"basic": 0.9, "family": -0.8, "student": 0.0}


def main(file: Path, count: int = 3000) -> None:
    """Write a CSV file with the columns age, spent, city, plan and left; now and then a cell is empty."""
    draw = random.Random(7)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="", encoding="utf-8") as opened:
        table = csv.writer(opened)
        table.writerow(["age", "spent", "city", "plan", "left"])
        for number in range(count):
            age, spent = draw.randint(18, 90), round(draw.lognormvariate(3, 0.6), 2)
            city, plan = draw.choice(list(CITIES)), draw.choice(list(PLANS))
            # What a city means depends on the plan: neither alone says much.
            score = 3 * CITIES[city] * PLANS[plan] + (age - 54) / 40 - math.log(spent) / 2 + 1.5
            left = "yes" if draw.random() < 1 / (1 + math.exp(-3 * score)) else "no"
            table.writerow(["" if number % 50 == 0 else age, spent, "" if number % 70 == 0 else city, plan, left])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/customers.csv"))
