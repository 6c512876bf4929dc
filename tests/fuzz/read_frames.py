"""Fuzzes `zoo.read_frames` as a user calls it: any file gives frames that decode, or a FrameError with a code that is documented.

Usage: python tests/fuzz/read_frames.py SECONDS SEEDS...      folders of files to start from; exits 1 at a fault, whose input is crash.fits

Where atheris is installed it is libFuzzer with the coverage of the Python code; elsewhere cards, blocks and bytes of the seeds are changed
at random, from a fixed seed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import random
import re
import sys
import tempfile
import time
import warnings
from pathlib import Path

ATHERIS = importlib.util.find_spec("atheris") is not None
if ATHERIS:
    import atheris

with atheris.instrument_imports(include=["zoo"]) if ATHERIS else contextlib.nullcontext():
    from zoo.errors import FrameError
    from zoo.frames import gate, read_frames

CARD, BLOCK, LONGEST = 80, 2880, 24 * 2880
CODES = set(re.findall(r"``([a-z0-9-]+)``", gate.__doc__ or ""))
VALUES = (
    b"0", b"1", b"2", b"8", b"16", b"-32", b"-64", b"999", b"2880", b"9223372036854775807", b"-1", b"1E999", b"T", b"F", b"NaN", b"'",
    b"'SCI     '", b"'BINTABLE'", b"'IMAGE   '", b"'RICE_1  '",
)  # fmt: skip
KEYS = (
    b"BITPIX  =", b"NAXIS   =", b"NAXIS1  =", b"NAXIS2  =", b"NAXIS3  =", b"PCOUNT  =", b"BSCALE  =", b"BZERO   =", b"BLANK   =",
    b"EXTNAME =", b"EXTVER  =", b"DATASUM =", b"INSTRUME=", b"DETECTOR=", b"CCDCHIP =", b"SUBARRAY=", b"BUNIT   =", b"NEXTEND =",
    b"ZIMAGE  =", b"ZCMPTYPE=", b"ZNAXIS1 =", b"ZTILE1  =", b"TFIELDS =", b"END      ",
)  # fmt: skip

FILE = Path(tempfile.mkdtemp()) / "a_raw.fits"


def check(data: bytes) -> None:
    """Read a file of these bytes as a user would."""
    FILE.write_bytes(data)
    try:
        for frame in read_frames(FILE):
            image = frame.decode()
            assert image.shape == frame.shape
            assert image.ndim == 3
    except FrameError as error:
        if error.code not in CODES or not str(error):
            raise RuntimeError(f"a refusal with the code {error.code!r}, which is not documented") from error


def mutate(data: bytes, chance: random.Random) -> bytes:
    """One to four changes of cards, blocks or bytes."""
    result = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        cards = max(len(result) // CARD, 1)
        place = chance.randrange(cards) * CARD
        kind = chance.randrange(6)
        if kind == 0 and result:
            result[chance.randrange(len(result))] ^= 1 << chance.randrange(8)
        elif kind == 1:
            result[place + 10 : place + 30] = chance.choice(VALUES).rjust(20)[:20]
        elif kind == 2:
            result[place : place + 9] = chance.choice(KEYS)
        elif kind == 3:
            other = chance.randrange(cards) * CARD
            result[place : place + CARD] = result[other : other + CARD].ljust(CARD)
        elif kind == 4:
            del result[chance.randrange(len(result) + 1) :]
        else:
            block = place // BLOCK * BLOCK
            result[block:block] = result[block : block + BLOCK]
    return bytes(result[:LONGEST])


def run(seconds: float, corpus: list[bytes]) -> int:
    """Mutate until the time is over; return how many files were read."""
    chance, until, count = random.Random(1), time.monotonic() + seconds, 0
    while count < len(corpus) or time.monotonic() < until:
        data = corpus[count] if count < len(corpus) else mutate(chance.choice(corpus), chance)
        try:
            check(data)
        except BaseException:
            Path("crash.fits").write_bytes(data)
            raise
        count += 1
    return count


def main() -> None:
    """Fuzz as the arguments say."""
    seconds, folders = float(sys.argv[1]), sys.argv[2:]
    warnings.simplefilter("error")
    if ATHERIS:
        # libFuzzer keeps what is new in the first folder and ends the process itself.
        atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}", f"-max_len={LONGEST}", "-artifact_prefix=crash-", *folders], check)
        atheris.Fuzz()
    corpus = [path.read_bytes() for folder in folders for path in sorted(Path(folder).iterdir())]
    print(f"{run(seconds, corpus)} files read in {seconds:g} s, {len(corpus)} given, no fault")


if __name__ == "__main__":
    main()
