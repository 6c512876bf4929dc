"""The catalogue of what ships with zoo, registered exactly as a third party would: names, references, options; no code runs here."""

from __future__ import annotations

from collections.abc import Callable

import zoo

zoo_api = 1

PAPER = "https://arxiv.org/abs/2312.04948"
LICENCE = "BSD-3-Clause"

# Name, paper, summary, parameters for one channel and two classes, and torchvision's ImageNet files by version: what stands in their names
# after that of the network, which ends in the first digits of the file's SHA-256.
RIVALS = (
    ("alexnet", "1404.5997", "AlexNet: 5 convolutions, 3 linear layers", 56_996_546, {1: "owt-7be5be79"}),
    ("vgg11", "1409.1556", "VGG with 11 layers", 128_773_378, {1: "8a719046"}),
    ("vgg11_bn", "1409.1556", "VGG with 11 layers and BatchNorm", 128_778_882, {1: "6002323d"}),
    ("vgg13", "1409.1556", "VGG with 13 layers", 128_957_890, {1: "19584684"}),
    ("vgg13_bn", "1409.1556", "VGG with 13 layers and BatchNorm", 128_963_778, {1: "abd245e5"}),
    ("vgg16", "1409.1556", "VGG with 16 layers", 134_267_586, {1: "397923af"}),
    ("vgg16_bn", "1409.1556", "VGG with 16 layers and BatchNorm", 134_276_034, {1: "6c64b313"}),
    ("vgg19", "1409.1556", "VGG with 19 layers", 139_577_282, {1: "dcbb9e9d"}),
    ("vgg19_bn", "1409.1556", "VGG with 19 layers and BatchNorm", 139_588_290, {1: "c79401a0"}),
    ("resnet18", "1512.03385", "ResNet with 18 layers", 11_171_266, {1: "f37072fd"}),
    ("resnet34", "1512.03385", "ResNet with 34 layers", 21_279_426, {1: "b627a593"}),
    ("resnet50", "1512.03385", "ResNet with 50 layers, bottleneck blocks", 23_505_858, {1: "0676ba61", 2: "11ad3fa6"}),
    ("resnet101", "1512.03385", "ResNet with 101 layers, bottleneck blocks", 42_497_986, {1: "63fe2227", 2: "cd907fc2"}),
    ("resnet152", "1512.03385", "ResNet with 152 layers, bottleneck blocks", 58_141_634, {1: "394f9c45", 2: "f82ba261"}),
)
IMAGENET = {
    "licence": "BSD-3-Clause (torchvision); ImageNet's own terms: non-commercial research",
    "trained_on": "ImageNet-1k: photographs of everyday things, RGB, 224x224, 1000 classes",
}


@zoo.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(
        "hrcn",
        "zoo.plugins.hrcn:build",
        input_shape=(1, 2048, 4096),
        summary="HR-CelestialNet: 12 convolutions on full 2048x4096 frames",
        reference=PAPER,
        licence=LICENCE,
        options={
            "padding": zoo.Option(
                str,
                "valid",
                "valid: the published layout, frames of 1834-2089 x 3882-4137 pixels; same: frames of any size",
                choices=("valid", "same"),
            )
        },
        parameters=97_048_130,
    )
    dropout = {"dropout": zoo.Option(float, 0.5, "probability with which a value beside a wide linear layer is dropped in training")}
    zero = {"zero_init_residual": zoo.Option(bool, False, "start every residual block as its shortcut alone")}
    for name, paper, summary, parameters, files in RIVALS:
        family = name.removesuffix("_bn").rstrip("0123456789")
        register(
            name,
            f"zoo.plugins.{family}:{'build' if name == family else name}",
            input_shape=(1, 2048, 4096),
            summary=summary,
            reference=f"https://arxiv.org/abs/{paper}",
            licence=LICENCE,
            options=zero if family == "resnet" else dropout,
            family=family,
            parameters=parameters,
            weights={
                f"imagenet1k-v{version}": {
                    "url": f"https://download.pytorch.org/models/{name}-{file}.pth",
                    "sha256": file[-8:],
                    **IMAGENET,
                }
                for version, file in files.items()
            },
        )


@zoo.hookimpl
def register_steps(register: Callable[..., None]) -> None:
    register(
        "overscan",
        "zoo.plugins.overscan:Overscan",
        scope="frame",
        summary="raw HST chips: trim to the science area, subtract the bias of each amplifier, apply the gain; other products pass",
        licence=LICENCE,
    )
    register(
        "resize",
        "zoo.plugins.geometry:Resize",
        scope="frame",
        summary="block mean by a factor, or by the smallest factor that brings the frame inside height x width",
        licence=LICENCE,
        options={
            "height": zoo.Option(int, 0, "pixels; 0 with factor"),
            "width": zoo.Option(int, 0, "pixels; 0 with factor"),
            "factor": zoo.Option(int, 0, "pixels a block side; 0 with height and width"),
        },
    )
    register(
        "rebin",
        "zoo.plugins.geometry:Rebin",
        scope="frame",
        summary="coarser pixels in a frame of the same size: every block gets its mean",
        licence=LICENCE,
        options={"factor": zoo.Option(int, 2, "pixels a block side")},
    )
    size = {"height": zoo.Option(int, 2048, "pixels"), "width": zoo.Option(int, 4096, "pixels")}
    register(
        "pad",
        "zoo.plugins.geometry:Pad",
        scope="frame",
        summary="centre the frame in height x width, with the sky median around it",
        licence=LICENCE,
        options=size,
    )
    register(
        "crop",
        "zoo.plugins.geometry:Crop",
        scope="frame",
        summary="keep the central height x width",
        licence=LICENCE,
        options=size,
    )
    register(
        "normalize",
        "zoo.plugins.photometry:Normalize",
        scope="frame",
        summary="limits, stretch and clip to [0, 1]; from raw bytes in one pass over memory",
        reference="https://docs.astropy.org/en/stable/visualization/normalization.html",
        licence=LICENCE,
        options={
            "limits": zoo.Option(
                str,
                "percentile",
                "rule for the black and the white level",
                choices=("manual", "minmax", "percentile", "zscale", "sigma_clip", "median_mad"),
            ),
            "lower": zoo.Option(float, 1.0, "manual: black level; percentile: per cent"),
            "upper": zoo.Option(float, 99.0, "manual: white level; percentile: per cent"),
            "below": zoo.Option(float, 3.0, "sigma_clip, median_mad: black level, deviations below the median"),
            "above": zoo.Option(float, 10.0, "sigma_clip, median_mad: white level, deviations above the median"),
            "contrast": zoo.Option(float, 0.25, "zscale: slope divisor"),
            "sigma": zoo.Option(float, 3.0, "sigma_clip: clip beyond so many deviations"),
            "maxiters": zoo.Option(int, 5, "sigma_clip: iterations"),
            "stretch": zoo.Option(str, "asinh", "curve", choices=("linear", "sqrt", "log", "asinh", "sinh", "power")),
            "a": zoo.Option(float, 0.0, "parameter of the stretch; 0 = astropy's default for it"),
            "clip": zoo.Option(bool, True, "clip to [0, 1]"),
        },
    )
    register(
        "blur",
        "zoo.plugins.photometry:Blur",
        scope="frame",
        summary="Gaussian blur in linear units",
        licence=LICENCE,
        options={
            "sigma": zoo.Option(float, 1.0, "standard deviation, pixels"),
            "mode": zoo.Option(str, "reflect", "border", choices=("reflect", "mirror", "nearest", "constant", "wrap")),
            "truncate": zoo.Option(float, 4.0, "kernel radius, standard deviations"),
        },
    )
    _register_degradations(register)
    register(
        "flip",
        "zoo.plugins.augment:Flip",
        scope="batch",
        summary="training only: mirror left-right and up-down, each with probability 1/2",
        licence=LICENCE,
        options={"horizontal": zoo.Option(bool, True, "left-right"), "vertical": zoo.Option(bool, True, "up-down")},
    )
    register(
        "rotate",
        "zoo.plugins.augment:Rotate",
        scope="batch",
        summary="training only: turn by 180 degrees with probability 1/2",
        licence=LICENCE,
    )


def _register_degradations(register: Callable[..., None]) -> None:
    """Steps in physical units; what they do and assume is in docs/degradations.md."""
    observation = {
        "pixel": zoo.Option(float, 0.0, "side of a pixel, arcseconds; 0 = the camera's"),
        "read_noise": zoo.Option(float, 0.0, "read noise of real frames, electrons; 0 = measured"),
        "seed": zoo.Option(int, 0, "of the noise in evaluation"),
    }
    families: dict[str, tuple[str, str, dict[str, zoo.Option]]] = {
        "psf": (
            "psf:Psf",
            "wider PSF, with the noise of an exposure through it",
            {
                "fwhm": zoo.Option(float, 0.1, "FWHM of what the light is convolved with, arcseconds"),
                "ee80": zoo.Option(float, 0.0, "instead, its radius of 80 % of the light, arcseconds; 0 = none"),
                "total": zoo.Option(float, 0.0, "instead, radius of 80 % in the end, arcseconds: adds what the camera lacks; 0 = none"),
                "profile": zoo.Option(str, "gaussian", "shape", choices=("gaussian", "moffat")),
                "beta": zoo.Option(float, 2.5, "exponent of moffat"),
                "micron": zoo.Option(float, 0.0, "wavelength for total, micrometres; 0 = the filter's"),
            },
        ),
        "jitter": (
            "psf:Jitter",
            "pointing that moves during the exposure",
            {
                "rms": zoo.Option(float, 0.02, "of the motion in each direction, arcseconds"),
                "direction": zoo.Option(float, -1.0, "of the motion, degrees from rows to columns; -1 = every direction"),
            },
        ),
        "sky": (
            "sky:Sky",
            "brighter sky",
            {
                "electrons": zoo.Option(float, 50.0, "added, electrons per pixel"),
                "rate": zoo.Option(float, 0.0, "instead, electrons per second and pixel; 0 = none"),
            },
        ),
        "readnoise": (
            "readnoise:ReadNoise",
            "higher read noise",
            {"electrons": zoo.Option(float, 10.0, "read noise in the end, electrons")},
        ),
        "cosmics": (
            "cosmics:Cosmics",
            "more cosmic rays",
            {
                "rate": zoo.Option(float, 1.0, "per second and square centimetre of detector"),
                "number": zoo.Option(float, 0.0, "instead, expected in the frame; 0 = none"),
                "pitch": zoo.Option(float, 15.0, "side of a pixel of the detector, micrometres"),
            },
        ),
        "saturate": (
            "saturate:Saturate",
            "lower full well, with bleeding",
            {"electrons": zoo.Option(float, 20000.0, "full well, electrons")},
        ),
        "exposure": (
            "exposure:Exposure",
            "shorter exposure",
            {
                "factor": zoo.Option(float, 0.5, "of the exposure time"),
                "seconds": zoo.Option(float, 0.0, "instead, exposure time in seconds; 0 = none"),
            },
        ),
    }
    families["csst"] = (
        "csst:Csst",
        "as CSST's survey camera would see it",
        {
            "ee80": zoo.Option(float, 0.114, "radius of 80 % of the light in the end, arcseconds; 0.114 simulated mean, 0.15 required"),
            "sensitivity": zoo.Option(float, 1.0, "collecting area times throughput, in units of Hubble's"),
            "rays": zoo.Option(float, 1.0, "cosmic rays per second and square centimetre"),
            "pitch": zoo.Option(float, 10.0, "side of a pixel of the detector, micrometres, for rays"),
            "grid": zoo.Option(str, "hst", "pixels of the result: of the frame, or of 0.074 arcseconds", choices=("hst", "csst")),
            "micron": zoo.Option(float, 0.0, "wavelength, micrometres; 0 = the filter's"),
        },
    )
    for name, (target, summary, options) in families.items():
        register(
            name,
            f"zoo.plugins.degrade.{target}",
            scope="frame",
            summary=f"degrade: {summary}; electrons, noise-correct",
            licence=LICENCE,
            options={**options, **observation},
        )


@zoo.hookimpl
def register_datasets(register: Callable[..., None]) -> None:
    seed = {"seed": zoo.Option(int, 0, "of every target and exposure")}
    exposures = {"exposures": zoo.Option(int, 2, "exposures per target, two chips each")}
    workers = {"workers": zoo.Option(int, 2, "processes that render; the pixels do not depend on them")}
    splits = {
        "train": zoo.Option(int, 50, "training targets per class"),
        "val": zoo.Option(int, 8, "validation targets per class"),
        "test": zoo.Option(int, 14, "test targets per class"),
    }
    register(
        "simulated",
        "zoo.plugins.simulated.dataset:build",
        summary="simulated sky in the raw HST layout at 512x1024: galaxies and NSCs, split by target",
        licence=LICENCE,
        scene="zoo.plugins.simulated.observed:observe",
        options={**seed, **splits, **exposures, **workers},
    )
    register(
        "simulated:full",
        "zoo.plugins.simulated.dataset:build_full",
        summary="the same sky at 2048x4096, each exposure rendered when it is first read",
        licence=LICENCE,
        scene="zoo.plugins.simulated.observed:observe",
        options={**seed, **splits, **exposures},
    )
    register(
        "simulated:shifted",
        "zoo.plugins.simulated.dataset:build_shifted",
        summary="morphology, PSF, background and star density outside the training ranges; test only",
        licence=LICENCE,
        scene="zoo.plugins.simulated.observed:observe",
        options={**seed, "test": zoo.Option(int, 12, "test targets per class"), **exposures, **workers},
    )

    _register_lcid(register)


def _register_lcid(register: Callable[..., None]) -> None:
    """The authors' lists; their files are not part of zoo, see docs/archive.md."""
    files = {"list": zoo.Option(str, "", "CSV of the authors, or another manifest; by default the authors' name for it in --root")}
    sets: dict[str, tuple[str, str, dict[str, zoo.Option]]] = {
        "lcid": ("build", "Hubble frames of the authors' list, as they are", {}),
        "lcid:resize": (
            "build_resize",
            "LCID-Resize: mean of blocks of pixels",
            {"height": zoo.Option(int, 512, "pixels at most"), "width": zoo.Option(int, 1024, "pixels at most")},
        ),
        "lcid:blurry": ("build_blurry", "LCID-Blurry: frames of the authors' second list, as they are; test only", {}),
        "lcid:csst": (
            "build_csst",
            "LCID as CSST's survey camera would expose it, by the step csst",
            {
                "ee80": zoo.Option(float, 0.114, "radius of 80 % of the light in the end, arcseconds"),
                "sensitivity": zoo.Option(float, 1.0, "collecting area times throughput, in units of Hubble's"),
                "rays": zoo.Option(float, 1.0, "cosmic rays per second and square centimetre"),
                "grid": zoo.Option(str, "hst", "pixels: 2048x4096, or CSST's", choices=("hst", "csst")),
                "seed": zoo.Option(int, 0, "of the noise"),
            },
        ),
    }
    for name, (function, summary, options) in sets.items():
        register(
            name,
            f"zoo.plugins.lcid:{function}",
            summary=summary,
            reference=PAPER,
            licence="public (Hubble archive)",
            options={**files, **options},
        )


@zoo.hookimpl
def register_losses(register: Callable[..., None]) -> None:
    register(
        "cross_entropy",
        "zoo.plugins.losses:cross_entropy",
        summary="softmax cross-entropy, weighted by class",
        licence=LICENCE,
        options={"label_smoothing": zoo.Option(float, 0.0, "share of a label that is spread over all classes, below 1")},
    )
    register(
        "focal",
        "zoo.plugins.losses:FocalLoss",
        summary="cross-entropy in which frames that the network is sure of count less",
        reference="https://arxiv.org/abs/1708.02002",
        licence=LICENCE,
        options={"gamma": zoo.Option(float, 2.0, "how much less; 0 is cross-entropy")},
    )


@zoo.hookimpl
def register_loggers(register: Callable[..., None]) -> None:
    register("csv", "zoo.plugins.loggers:CsvLogger", summary="metrics.csv beside metrics.jsonl", licence=LICENCE)
    register(
        "jsonl",
        "zoo.plugins.loggers:JsonlLogger",
        summary="flat lines of JSON, to one file for many runs or to stdout",
        licence=LICENCE,
        options={"path": zoo.Option(str, "-", "file, relative to the run directory; - is stdout")},
    )
    register(
        "tensorboard",
        "zoo.plugins.tensorboard:TensorBoardLogger",
        summary="curves for TensorBoard; needs celestial-zoo[tensorboard]",
        reference="https://www.tensorflow.org/tensorboard",
        licence=LICENCE,
    )
