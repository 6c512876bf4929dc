"""Frames: FITS files, Hubble exposures and arrays, read without copying their pixels."""

from zoo.frames.fits import list_hdus, read_frame, read_frames, read_info, read_size
from zoo.frames.frame import Frame, FrameInfo
from zoo.frames.hst import Amplifier, Layout, Window, acs_hrc, acs_wfc, layout_of, wfc3_uvis
from zoo.frames.observation import PIXEL_SCALES, Observation, bleed, cosmic_rays
from zoo.frames.quality import BAD_BITS
from zoo.ops.raw import Encoding, Region

__all__ = [
    "BAD_BITS",
    "PIXEL_SCALES",
    "Amplifier",
    "Encoding",
    "Frame",
    "FrameInfo",
    "Layout",
    "Observation",
    "Region",
    "Window",
    "acs_hrc",
    "acs_wfc",
    "bleed",
    "cosmic_rays",
    "layout_of",
    "list_hdus",
    "read_frame",
    "read_frames",
    "read_info",
    "read_size",
    "wfc3_uvis",
]
