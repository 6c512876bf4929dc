"""The hostile corpus: read by a process that may hardly grow, each file is refused with its code or gives the right pixels."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import CORPUS, Hostile

from zoo.errors import FrameError
from zoo.frames import read_frames
from zoo.frames.gate import scan

# What the process may grow by: pixels and headers of any of the files, a thread or two, and the largest file, 58 MB, mapped.
GROWTH = 256 << 20

# Reads the files that its input names, one per line, and answers with a code, or where it has put the pixels.
READER = """
import json, mmap, resource, sys
import numpy as np
import zoo
from zoo.errors import FrameError

zoo.read_frames(np.ones((2, 2), np.float32))[0].decode()
for line in sys.stdin:
    path, target = json.loads(line)
    used = int(open("/proc/self/statm").read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[1]), resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        (frame,) = zoo.read_frames(path)
        np.save(target, frame.decode()[0].numpy())
        answer = ""
    except FrameError as error:
        answer = error.code
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | np.ndarray[tuple[int, int], np.dtype[np.float32]]]:
    """What the process made of every file: a code, or pixels."""
    folder = tmp_path_factory.mktemp("hostile")
    found: dict[str, str | np.ndarray[tuple[int, int], np.dtype[np.float32]]] = {}
    words = [sys.executable, "-W", "error", "-c", READER, str(GROWTH)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        for hostile in CORPUS:
            path, target = hostile.write(folder), folder / "pixels.npy"
            process.stdin.write(json.dumps([str(path), str(target)]) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, f"{hostile.name} ended the process"
            found[hostile.name] = json.loads(line) or np.load(target)
            path.unlink()
        process.stdin.close()
    assert process.returncode == 0
    return found


def test_the_corpus_is_large_and_its_names_differ() -> None:
    assert len({hostile.name for hostile in CORPUS}) == len(CORPUS) >= 80


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not enforce the limit")
@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_a_hostile_file_costs_one_refusal_or_gives_its_pixels(
    hostile: Hostile, answers: dict[str, str | np.ndarray[tuple[int, int], np.dtype[np.float32]]]
) -> None:
    answer = answers[hostile.name]
    if isinstance(hostile.expected, str):
        assert isinstance(answer, str)
        assert answer == hostile.expected
    else:
        np.testing.assert_array_equal(answer, hostile.expected)


def test_the_image_before_damage_can_be_had(tmp_path: Path) -> None:
    (cut,) = (hostile for hostile in CORPUS if hostile.name == "second-image-cut")
    path = cut.write(tmp_path)
    assert read_frames(path, hdu=0)[0].shape == (1, 3, 4)
    with pytest.raises(FrameError, match="--hdu 0 reads the image before the damage"):
        read_frames(path)


def test_a_refusal_of_huge_sizes_is_short() -> None:
    (huge,) = (hostile for hostile in CORPUS if hostile.name == "naxis-999-huge")
    with pytest.raises(FrameError, match=r"x\.fits: HDU 0: truncated: .* expected more than 9223372036854775807 by its headers$"):
        scan(huge.build(), "x.fits")
