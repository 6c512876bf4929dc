"""Frames of other sizes: each rule, both ways, and the one shape that a mixture of sizes gets."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from zoo.data import DataSet, Manifest, Row, open_data
from zoo.data.geometry import AnySizePipeline, fit_pipeline
from zoo.errors import DataError, InputShapeError, UsageError
from zoo.frames import Frame, read_frame
from zoo.steps import Pipeline, default_pipeline

Size = tuple[int, int]
SHAPE = (1, 32, 64)
CROP = "crop:height=32,width=64"
LINEAR = "normalize:limits=manual,lower=0,upper=1,stretch=linear"


def sized(*steps: str, geometry: str = "resize", frame_size: Size | None = None) -> AnySizePipeline:
    return AnySizePipeline(Pipeline(steps).to_list(), SHAPE, geometry=geometry, frame_size=frame_size)


def ramp(size: Size) -> np.ndarray:
    """A frame whose pixels are all different, from 0 to 1; float32."""
    return np.linspace(0, 1, size[0] * size[1], dtype=np.float32).reshape(size)


def run(pipeline: AnySizePipeline, pixels: np.ndarray) -> np.ndarray:
    return pipeline.run_frame(read_frame(pixels))[0].numpy()


@pytest.mark.parametrize("geometry", ["resize", "crop", "pad", "refuse"])
def test_frames_of_the_training_size_go_through_the_own_steps(geometry: str) -> None:
    pipeline = sized(LINEAR, geometry=geometry, frame_size=(32, 64))
    frame = read_frame(ramp((32, 64)))
    assert pipeline.for_size((32, 64)) is pipeline
    assert not pipeline.adapts(frame)
    np.testing.assert_array_equal(pipeline.run_frame(frame)[0].numpy(), ramp((32, 64)))


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (40, 60), (33, 65)])
def test_resize_averages_blocks_of_the_whole_frame(size: Size) -> None:
    pixels = ramp(size)
    factor = max(-(-size[0] // 32), -(-size[1] // 64))
    high, wide = -(-size[0] // factor), -(-size[1] // factor)
    image = run(sized(LINEAR), pixels)
    top, left = (32 - high) // 2, (64 - wide) // 2
    assert image.shape == SHAPE[1:]
    assert image[top, left] == pytest.approx(pixels[:factor, :factor].mean())
    assert image[top + high - 1, left + wide - 1] == pytest.approx(pixels[(high - 1) * factor :, (wide - 1) * factor :].mean())


@pytest.mark.parametrize("geometry", ["resize", "crop", "pad"])
@pytest.mark.parametrize("size", [(20, 30), (31, 64), (32, 1)])
def test_smaller_frames_are_padded_with_their_sky(geometry: str, size: Size) -> None:
    pixels = ramp(size)
    image = run(sized(LINEAR, geometry=geometry), pixels)
    top, left = (32 - size[0]) // 2, (64 - size[1]) // 2
    inside = np.zeros(SHAPE[1:], bool)
    inside[top : top + size[0], left : left + size[1]] = True
    np.testing.assert_array_equal(image[inside], pixels.ravel())
    assert set(image[~inside].tolist()) == {float(torch.from_numpy(pixels).median())}


@pytest.mark.parametrize("size", [(64, 128), (33, 64), (40, 30), (20, 100)])
def test_crop_keeps_the_middle_at_the_same_scale(size: Size) -> None:
    pixels = ramp(size)
    image = run(sized(LINEAR, geometry="crop"), pixels)
    high, wide = min(size[0], 32), min(size[1], 64)
    y, x = (size[0] - high) // 2, (size[1] - wide) // 2
    top, left = (32 - high) // 2, (64 - wide) // 2
    np.testing.assert_array_equal(image[top : top + high, left : left + wide], pixels[y : y + high, x : x + wide])


@pytest.mark.parametrize("size", [(33, 64), (20, 65), (64, 128)])
def test_pad_refuses_larger_frames(size: Size) -> None:
    with pytest.raises(InputShapeError, match=rf"got a frame of {size[0]}x{size[1]}, expected at most 32x64 .* --geometry resize or crop"):
        sized(LINEAR, geometry="pad").for_size(size)


@pytest.mark.parametrize("size", [(64, 128), (20, 30), (33, 64)])
def test_refuse_takes_no_other_size(size: Size) -> None:
    with pytest.raises(InputShapeError, match=r"expected one of 32x64 as in training; --geometry resize, crop or pad"):
        sized(LINEAR, geometry="refuse", frame_size=(32, 64)).for_size(size)
    with pytest.raises(InputShapeError, match=r"expected one that fits 32x64"):
        sized(LINEAR, geometry="refuse").for_size(size)


@pytest.mark.parametrize("steps", [("resize:factor=2", LINEAR), ("resize:height=32,width=64", LINEAR, "pad:height=32,width=64")])
def test_crop_and_pad_keep_the_pixel_scale_of_the_training(steps: tuple[str, ...]) -> None:
    larger, smaller = ramp((128, 256)), ramp((40, 64))
    crop = sized(*steps, geometry="crop", frame_size=(64, 128))
    block = larger[32:34, 64:66].mean()
    assert run(crop, larger)[0, 0] == pytest.approx(block)
    assert run(crop, smaller)[6, 16] == pytest.approx(smaller[:2, :2].mean())
    assert run(sized(*steps, geometry="pad", frame_size=(64, 128)), smaller)[6, 16] == pytest.approx(smaller[:2, :2].mean())
    with pytest.raises(InputShapeError, match=r"got a frame of 128x256, expected at most 64x128 to pad"):
        sized(*steps, geometry="pad", frame_size=(64, 128)).for_size((128, 256))
    assert run(sized(*steps, frame_size=(64, 128)), larger)[0, 0] == pytest.approx(larger[:4, :4].mean())


def test_the_same_shape_at_another_scale_is_another_size() -> None:
    steps = ("resize:height=32,width=64", LINEAR, "pad:height=32,width=64")
    pipeline = sized(*steps, frame_size=(64, 128))
    known = [pipeline.is_native(size) for size in ((64, 128), (63, 127), (128, 256), (32, 64), (62, 128))]
    assert known == [True, True, False, False, False]
    unknown = sized(*steps)
    assert [unknown.is_native(size) for size in ((64, 128), (128, 256), (32, 64), (62, 128))] == [True, True, True, False]


@pytest.mark.parametrize(
    ("steps", "geometry", "fitted"),
    [
        ([LINEAR, "flip"], "resize", ["resize", "normalize", "pad", "flip"]),
        (["overscan", LINEAR], "resize", ["overscan", "resize", "normalize", "pad"]),
        (["overscan", "resize:factor=2", "blur", LINEAR, CROP], "resize", ["overscan", "resize", "blur", "normalize", "pad"]),
        (["overscan", "resize:factor=2", "blur", LINEAR, CROP], "crop", ["overscan", "resize", "crop", "blur", "normalize", "pad"]),
        (["blur", LINEAR, "flip"], "crop", ["blur", "crop", "normalize", "pad", "flip"]),
        (["blur", LINEAR, "flip"], "pad", ["blur", "normalize", "pad", "flip"]),
        ([], "resize", ["resize", "pad"]),
    ],
)
def test_only_geometry_is_replaced(steps: list[str], geometry: str, fitted: list[str]) -> None:
    size = (20, 31) if geometry == "pad" else (40, 500)
    pipeline = sized(*steps, geometry=geometry).for_size(size)
    assert [spec.name for spec in pipeline.specs] == fitted
    assert pipeline.output_shape((1, *size)) == SHAPE


def test_a_step_that_changes_the_size_itself_is_said() -> None:
    with pytest.raises(InputShapeError, match="expected at least 64 x 64"):
        AnySizePipeline(Pipeline([LINEAR, "crop:height=64,width=64"]).to_list(), SHAPE).output_shape((1, 10, 10))
    with pytest.raises(UsageError, match="geometry must be one of resize, crop, pad, refuse, got 'stretch'"):
        sized(LINEAR, geometry="stretch")


def test_holes_do_not_spoil_the_sky_of_the_padding() -> None:
    pixels = np.full((20, 40), 0.5, np.float32)
    pixels[:, 20:] = np.nan
    pixels[0, 0] = 0.9
    image = run(sized(LINEAR), pixels)
    assert image[0, 0] == 0.5
    assert image[16, 40] == 0.0  # inside the frame a pixel without a value is black, as everywhere


def test_pickled_pipelines_keep_their_rule() -> None:
    pipeline = sized(LINEAR, geometry="crop", frame_size=(40, 64))
    copy = pickle.loads(pickle.dumps(pipeline))
    assert (copy, copy.geometry, copy.frame_size, copy.input_shape) == (pipeline, "crop", (40, 64), SHAPE)


def _listed(folder: Path, sizes: list[Size], *, packed: bool = False) -> DataSet:
    folder.mkdir()
    rows = []
    for number, size in enumerate(sizes):
        path = folder / f"{number}.fits{'.gz' if packed else ''}"
        fits.PrimaryHDU(ramp(size)).writeto(path)
        rows.append(Row(path.name, 0, "galaxy", f"T{number}"))
    return DataSet("list", Manifest(tuple(rows), folder), [*default_pipeline(SHAPE), {"step": "flip"}])


@pytest.mark.parametrize(
    ("geometry", "shape"),
    [("resize", (1, 64, 96)), ("crop", (1, 40, 64)), ("pad", (1, 100, 90))],
)
def test_a_mixture_of_sizes_gets_one_shape(tmp_path: Path, geometry: str, shape: tuple[int, int, int]) -> None:
    sizes = [(40, 64), (100, 70), (40, 64), (48, 90), (48, 80)]
    data = _listed(tmp_path / "a", sizes)
    pipeline, notes = fit_pipeline(data, data.manifest.rows, [], geometry)
    assert pipeline.input_shape == shape
    assert pipeline.frame_size == (40, 64)
    assert [tuple(pipeline.run_frame(data.open(row)).shape) for row in data.manifest.rows] == [shape] * 5
    (note,) = notes
    counts = "40x64 2, 100x70 1, 48x90 1, 48x80 1"
    assert note == f"frames of 4 sizes ({counts}): geometry {geometry} brings each to {shape[1]}x{shape[2]}"


def test_refused_sizes_stop_training_with_their_files(tmp_path: Path) -> None:
    data = _listed(tmp_path / "a", [(40, 64), (100, 70), (40, 64), (48, 90)])
    with pytest.raises(DataError, match=r"list: 1.fits\[0\]: got a frame of 100x70.*sizes of the frames: 40x64 2, 100x70 1, 48x90 1"):
        fit_pipeline(data, data.manifest.rows, [], "refuse")
    own = [{"step": "normalize"}]
    with pytest.raises(DataError, match=r"expected at most 40x64 to pad"):
        fit_pipeline(data, data.manifest.rows, own, "pad")
    pipeline, _ = fit_pipeline(data, data.manifest.rows, own, "crop")
    assert pipeline.input_shape == (1, 40, 64)


@pytest.mark.parametrize("geometry", ["resize", "crop", "pad", "refuse"])
def test_frames_of_one_size_keep_it_in_silence(tmp_path: Path, geometry: str) -> None:
    data = _listed(tmp_path / "a", [(32, 64)] * 3)
    pipeline, notes = fit_pipeline(data, data.manifest.rows, [], geometry)
    assert (pipeline.input_shape, notes) == (SHAPE, ())


def test_some_compressed_files_are_unpacked_for_their_size(tmp_path: Path) -> None:
    data = _listed(tmp_path / "a", [(32, 64)] * 30 + [(16, 64)] * 10, packed=True)
    opened: list[str] = []

    def watch(row: Row) -> Frame:
        opened.append(row.path)
        return read_frame(tmp_path / "a" / row.path)

    assert fit_pipeline(data, data.manifest.rows, [], "crop")[1] != ()
    made = DataSet("made", data.manifest, data.pipeline, open=watch)
    assert fit_pipeline(made, data.manifest.rows, [], "crop")[1] == ()
    assert opened == ["0.fits.gz"]  # frames that are made when they are opened are not made for this


def test_frames_that_cannot_be_read_do_not_count(tmp_path: Path) -> None:
    data = _listed(tmp_path / "a", [(32, 64)] * 3)
    (tmp_path / "a" / "1.fits").write_bytes(b"no")
    assert fit_pipeline(data, data.manifest.rows, [], "refuse")[0].input_shape == SHAPE


def test_lists_give_hdu_and_plane(tmp_path: Path) -> None:
    cube = np.stack([ramp((32, 64)) + level for level in range(3)])
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(cube), fits.ImageHDU(ramp((16, 64)))]).writeto(tmp_path / "cube.fits")
    lines = ["path,hdu,plane,label,target,split", *(f"cube.fits,1,{plane},galaxy,G,train" for plane in (2, 0)), "cube.fits,2,,NSC,N,train"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    data = open_data(tmp_path / "list.csv")
    assert [row.name for row in data.manifest] == ["cube.fits[1, plane 2]", "cube.fits[1, plane 0]", "cube.fits[2]"]
    assert [float(data.open(row).decode()[0, 0, 0]) for row in data.manifest] == [2.0, 0.0, 0.0]
    data.manifest.write_csv(tmp_path / "again.csv")
    assert [(row.hdu, row.plane) for row in Manifest.read_csv(tmp_path / "again.csv")] == [(1, 2), (1, 0), (2, None)]
    (tmp_path / "twice.csv").write_text("\n".join([lines[0], lines[1], lines[1]]))
    with pytest.raises(DataError, match=r"got cube.fits\[1, plane 2\] again"):
        Manifest.read_csv(tmp_path / "twice.csv")
    (tmp_path / "bad.csv").write_text(f"{lines[0]}\ncube.fits,1,first,galaxy,G,train")
    with pytest.raises(DataError, match=r"line 2: got plane 'first', expected the number of a plane"):
        Manifest.read_csv(tmp_path / "bad.csv")


def test_sizes_are_read_from_headers_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = _listed(tmp_path / "a", [(32, 64), (20, 30)])
    monkeypatch.setattr("zoo.data.dataset.read_frame", lambda *_: pytest.fail("was opened"))
    assert fit_pipeline(data, data.manifest.rows, [], "crop")[1] != ()
