"""Tile-compressed images: the stored pixels bit for bit, whatever the coding; and hostile ones, which cost one error each."""

from __future__ import annotations

import gzip
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits

from zoo.errors import FrameError
from zoo.frames import acs_wfc, read_frame, read_frames, tiles

CODINGS = ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"]


@pytest.fixture
def workers() -> Iterator[tiles._Workers]:
    """The processes, none of them running before and after."""
    tiles._WORKERS.close()
    yield tiles._WORKERS
    tiles._WORKERS.close()


def sky(dtype: str, shape: tuple[int, ...] = (40, 56)) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(3).normal(200, 30, shape).clip(0, None)
    return values.astype(dtype)


def pack(path: Path, data: np.ndarray[Any, Any], header: fits.Header | None = None, **options: Any) -> Path:
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(data, header=header, **options)]).writeto(path)
    return path


def stored(path: Path) -> bytes:
    """The unscaled pixels as astropy unpacks them, as FITS would store them."""
    with fits.open(path, do_not_scale_image_data=True) as hdus:
        data = hdus[1].data
    return bytes(data.astype(data.dtype.newbyteorder(">")).tobytes())


def code_of(path: Path, **words: Any) -> str:
    with pytest.raises(FrameError) as caught:
        read_frames(path, **words)
    assert (caught.value.path, caught.value.hdu) == (path, 1)
    return caught.value.code


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
def test_integers_are_unpacked_bit_for_bit(coding: str, dtype: str, tmp_path: Path) -> None:
    if (coding, dtype) == ("PLIO_1", "u2"):
        pytest.skip("PLIO holds 24 bits and no negative numbers, as which uint16 is stored")
    path = pack(tmp_path / "x.fits.fz", sky(dtype), compression_type=coding)
    frame = read_frame(path)
    assert frame.pixels.numpy().tobytes() == stored(path)
    np.testing.assert_array_equal(frame.decode()[0].numpy(), fits.getdata(path, 1).astype(np.float32))
    assert frame.sha256() == read_frame(fits.getdata(path, 1)).sha256()


@pytest.mark.parametrize("coding", ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1"])
@pytest.mark.parametrize("dither", [-1, 1, 2])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_quantised_floats_are_unpacked_bit_for_bit(coding: str, dither: int, dtype: str, tmp_path: Path) -> None:
    data = sky(dtype)
    data[3, 4] = np.nan if coding != "HCOMPRESS_1" else 0.0
    path = pack(tmp_path / "x.fits.fz", data, compression_type=coding, quantize_method=dither, dither_seed=7)
    frame = read_frame(path)
    assert frame.pixels.numpy().tobytes() == stored(path)
    assert math.isnan(float(frame.decode()[0, 3, 4])) == (coding != "HCOMPRESS_1")


def test_lossless_floats_and_blank_integers_keep_their_meaning(tmp_path: Path) -> None:
    data = sky("f8")
    path = pack(tmp_path / "f.fits", data, compression_type="GZIP_2", quantize_level=0.0)
    np.testing.assert_array_equal(read_frame(path).decode()[0].numpy(), data.astype(np.float32))
    header = fits.Header({"BLANK": -5})
    whole = sky("i2")
    whole[2, 1] = -5
    path = pack(tmp_path / "i.fits", whole, header)
    assert read_frame(path).encoding.blank == -5  # type: ignore[union-attr]
    assert np.argwhere(np.isnan(read_frame(path).decode()[0].numpy())).tolist() == [[2, 1]]


def test_planes_of_a_compressed_cube_are_unpacked_alone(tmp_path: Path) -> None:
    cube = sky("i2", (2, 3, 20, 30))
    path = pack(tmp_path / "cube.fits", cube, tile_shape=(1, 1, 20, 30))
    assert code_of(path, hdu=1) == "not-2d"
    for plane in range(6):
        np.testing.assert_array_equal(read_frame(path, plane=plane).decode()[0].numpy(), cube.reshape(6, 20, 30)[plane])
    assert code_of(path, plane=6) == "bad-plane"


def test_a_compressed_image_in_a_gzipped_file_and_in_a_list_is_the_same_frame(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.fits.fz", sky("i2"))
    (tmp_path / "x.fits.gz").write_bytes(gzip.compress(path.read_bytes()))
    with fits.open(path) as hdus:
        hashes = {read_frame(source).sha256() for source in (path, tmp_path / "x.fits.gz", hdus)}
    assert len(hashes) == 1


def test_what_fpack_makes_of_a_primary_image_keeps_its_keywords(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.fits.fz", sky("i2"))
    with fits.open(path, disable_image_compression=True, mode="update") as hdus:
        hdus[1].header["ZSIMPLE"] = True
        hdus[1].header["SIMULATE"] = True
        hdus[1].header["TARGNAME"] = "M51"
    assert (read_frame(path).info.simulated, read_frame(path).info.target) == (True, "M51")


def test_a_packed_raw_exposure_is_the_raw_exposure(tmp_path: Path) -> None:
    layout = acs_wfc(2).scaled(64)
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "ACS", "DETECTOR": "WFC", "CCDGAIN": 2.0, "CCDAMP": "ABCD", "SIMULATE": True, "SIMSCALE": 64})
    sci = fits.ImageHDU(sky("u2", layout.shape), fits.Header({"CCDCHIP": 2, "BUNIT": "COUNTS"}), name="SCI")
    fits.HDUList([primary, sci]).writeto(tmp_path / "a_raw.fits")
    fits.HDUList([primary, fits.CompImageHDU(sci.data, sci.header)]).writeto(tmp_path / "a_raw.fits.fz")
    plain, packed = read_frame(tmp_path / "a_raw.fits"), read_frame(tmp_path / "a_raw.fits.fz")
    assert (packed.layout, packed.info.product, packed.sha256()) == (layout, "raw", plain.sha256())
    assert torch.equal(packed.pixels, plain.pixels)


def damaged(path: Path, **keywords: Any) -> Path:
    """Rewrite header keywords of the table that holds the tiles."""
    with fits.open(path, disable_image_compression=True, mode="update") as hdus:
        hdus[1].header.update(keywords)
    return path


def garble(path: Path) -> Path:
    """Overwrite the tiles themselves."""
    with fits.open(path, disable_image_compression=True) as hdus:
        start = hdus[1].fileinfo()["datLoc"] + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]
        length = hdus[1].header["PCOUNT"]
    content = bytearray(path.read_bytes())
    content[start : start + length] = bytes(255 - byte for byte in content[start : start + length])
    path.write_bytes(content)
    return path


def test_corrupt_tiles_cost_one_error(tmp_path: Path) -> None:
    good = pack(tmp_path / "good.fits", sky("i2"))
    assert code_of(garble(pack(tmp_path / "gzip.fits", sky("i2"), compression_type="GZIP_1"))) == "corrupt"
    assert code_of(damaged(pack(tmp_path / "tiles.fits", sky("i2")), ZTILE1=0)) == "bad-header"
    assert code_of(damaged(pack(tmp_path / "column.fits", sky("i2")), TFIELDS=0)) == "corrupt"
    assert code_of(damaged(pack(tmp_path / "rows.fits", sky("i2")), ZNAXIS2=4000)) == "corrupt"
    assert code_of(damaged(pack(tmp_path / "coding.fits", sky("i2")), ZCMPTYPE="ZPAQ_9")) == "compressed"
    assert code_of(damaged(pack(tmp_path / "axes.fits", sky("i2")), ZNAXIS1=-4)) == "bad-header"
    assert code_of(damaged(pack(tmp_path / "type.fits", sky("i2")), ZBITPIX=7)) == "bad-header"
    assert read_frame(good).shape == (1, 40, 56)
    with fits.open(tmp_path / "gzip.fits") as hdus, pytest.raises(FrameError, match=r"<memory>: HDU 1: corrupt: got \w+: "):
        read_frames(hdus)


def test_bombs_are_refused_before_or_while_they_go_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert code_of(damaged(pack(tmp_path / "wide.fits", sky("i2")), ZNAXIS1=1 << 20, ZNAXIS2=1 << 20)) == "too-large"
    # 1 GB of int16 in one tile, of which the stream holds almost nothing.
    bomb = {"ZNAXIS1": 1 << 15, "ZNAXIS2": 1 << 14, "ZTILE1": 1 << 15, "ZTILE2": 1 << 14}
    path = damaged(pack(tmp_path / "tile.fits", sky("i2"), tile_shape=(40, 56), compression_type="PLIO_1"), **bomb)
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "_PER_TILE_PIXEL", 0)
        patch.setattr(tiles, "_PER_BYTE", 1)
        # Seen: the C code takes a failed allocation for granted and ends the process.
        assert code_of(path) in ("corrupt", "too-large")
        patch.setattr(tiles, "_PER_BYTE", 0)
        assert code_of(path) == "too-large"
    monkeypatch.setattr(tiles, "MAX_BYTES", 1000)
    assert code_of(pack(tmp_path / "small.fits", sky("i2"))) == "too-large"


def test_a_decoder_that_hangs_or_dies_is_replaced(tmp_path: Path, workers: tiles._Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "x.fits", sky("i2"))
    read_frame(path)
    (worker,) = workers.idle
    os.kill(worker.process.pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(tiles, "DEADLINE_S", 0.2)
        assert code_of(path) == "timeout"
    assert worker.process.returncode == -signal.SIGKILL
    assert not workers.idle
    read_frame(path)
    (worker,) = workers.idle
    os.kill(worker.process.pid, signal.SIGSTOP)
    threading.Timer(0.2, worker.process.kill).start()
    with pytest.raises(FrameError, match=r"HDU 1: corrupt: got a stream that ended the decoder \(SIGKILL\)"):
        read_frame(path)
    read_frame(path)
    (worker,) = workers.idle
    worker.process.kill()
    worker.process.wait()
    assert read_frame(path).shape == (1, 40, 56)
    assert len(workers.idle) == 1


def test_a_decoder_that_does_not_start_says_so(tmp_path: Path, workers: tiles._Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path / "x.fits", sky("i2"))
    monkeypatch.setattr(tiles, "_SCRIPT", tmp_path / "absent.py")
    assert code_of(path) == "no-decoder"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "absent"))
    assert code_of(path) == "no-decoder"
    monkeypatch.undo()
    assert read_frame(path).shape == (1, 40, 56)
    assert len(workers.idle) == 1


def test_threads_share_the_decoders_and_leave_nothing_behind(tmp_path: Path, workers: tiles._Workers) -> None:
    paths = [pack(tmp_path / f"{n}.fits", sky("i2") + n) for n in range(4)]
    bad = garble(pack(tmp_path / "bad.fits", sky("i2"), compression_type="GZIP_1"))
    wrong: list[object] = []

    def read() -> None:
        for _ in range(5):
            for n, path in enumerate(paths):
                if not np.array_equal(read_frame(path).decode()[0].numpy(), sky("f4").astype("i2") + n):
                    wrong.append(path)
            with pytest.raises(FrameError, match="corrupt"):
                read_frame(bad)

    read()
    before = len(list(Path("/proc/self/fd").iterdir()))
    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert 1 <= len(workers.idle) <= tiles.MAX_WORKERS
    # The socket of each further process is all that stays open.
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + len(workers.idle) - 1


def test_a_forked_child_starts_decoders_of_its_own(tmp_path: Path, workers: tiles._Workers) -> None:
    path = pack(tmp_path / "x.fits", sky("i2"))
    read_frame(path)
    (worker,) = workers.idle
    child = os.fork()
    if child == 0:
        try:
            same = bool(tiles._WORKERS.idle)
            read_frame(path)
            os._exit(9 if same or tiles._WORKERS.idle[0].process.pid == worker.process.pid else 0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert read_frame(path).shape == (1, 40, 56)
    assert workers.idle == [worker]


def test_decoders_end_with_the_program(tmp_path: Path) -> None:
    path = pack(tmp_path / "x.fits", sky("i2"))
    code = "import sys, zoo; from zoo.frames import tiles; zoo.read_frames(sys.argv[1]);print(tiles._WORKERS.idle[0].process.pid)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    with pytest.raises(ProcessLookupError):
        os.kill(int(done.stdout), 0)
