"""Write golden/numerics: rounding and dot products, by exact rational arithmetic.

    python golden/make_numerics.py

rounding.json   x (a float64) -> the nearest value of a format, ties to even, as a float64
dot.json        two float32 vectors -> their exact dot product, rounded once to float32

Nothing of refimpl or numpy is imported: a format is a precision, an exponent range and a largest
value, and rounding is the definition, on fractions.
"""

import json
import random
from fractions import Fraction
from pathlib import Path

EXACT = "exact rational arithmetic (golden/make_numerics.py)"

FORMATS = {  # significant bits, exponent of the smallest normal number, largest value
    "float32": (24, -126, Fraction(2**24 - 1) * 2**104),
    "float16": (11, -14, Fraction(65504)),
    "bfloat16": (8, -126, Fraction(2**8 - 1) * 2**120),
    "float8_e4m3": (4, -6, Fraction(448)),
    "float8_e5m2": (3, -14, Fraction(57344)),
}


def nearest(x: Fraction, precision: int, emin: int, largest: Fraction) -> Fraction | None:
    """The value of the format nearest to x, ties to even; None beyond the largest."""
    if x == 0:
        return x
    exponent = emin
    while abs(x) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    ulp = Fraction(2) ** (exponent - precision + 1)
    rounded = Fraction(round(x / ulp)) * ulp  # Python rounds fractions to even
    return rounded if abs(rounded) <= largest else None


def roundings(rng: random.Random) -> list[dict]:
    cases = []
    for name, (precision, emin, largest) in FORMATS.items():
        ulp = 2.0 ** (1 - precision)
        special = [0.0, 1.0, 1 + ulp / 2, 1 + 1.5 * ulp, 1 + ulp / 2 + 2.0**-50, float(largest)]
        special += [float(largest) * (1 + ulp / 8), 2.0**emin * (1 - ulp / 2), 2.0 ** (emin - 3)]
        drawn = [rng.uniform(1, 2) * 2.0 ** rng.randint(emin - 2, 12) for _ in range(20)]
        for x in special + [-d for d in drawn]:
            value = nearest(Fraction(x), precision, emin, largest)
            cases.append(
                {
                    "name": f"{name} {x!r}",
                    "authority": EXACT,
                    "format": name,
                    "x": x,
                    "rounded": None if value is None else float(value),
                }
            )
    return cases


def dots(rng: random.Random) -> list[dict]:
    precision, emin, largest = FORMATS["float32"]
    short = lambda: float(nearest(Fraction(rng.gauss(0, 1)), precision, emin, largest))
    cases = []
    for n in (1, 2, 3, 16, 64, 257):
        a, b = [short() for _ in range(n)], [short() for _ in range(n)]
        exact = sum(Fraction(x) * Fraction(y) for x, y in zip(a, b, strict=True))
        rounded = float(nearest(exact, precision, emin, largest))
        cases.append({"name": f"{n} terms", "authority": EXACT, "a": a, "b": b, "rounded": rounded})
    return cases


def main() -> None:
    folder = Path(__file__).parent / "numerics"
    folder.mkdir(exist_ok=True)
    rng = random.Random(0)
    for name, cases in (("rounding", roundings(rng)), ("dot", dots(rng))):
        document = {"schema": f"refimpl/numerics/{name}/1", "cases": cases}
        (folder / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
