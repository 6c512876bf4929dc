"""The light behind a simulated frame, from the plugin that simulated it."""

from __future__ import annotations

from dataclasses import replace

from zoo.errors import FrameError, PluginError
from zoo.frames import Frame, Observation
from zoo.registry import get_registry


def find_scene(frame: Frame) -> Observation | None:
    """Return the exposure behind a simulated frame, with its light without noise; ``None`` for a frame that is not simulated.

    Each registered data set with a ``scene`` is asked for the file; the first that knows it answers.

    Args:
        frame: as it was read from its file.
    Returns: the exposure, in pixels of the science area.
    Raises:
        FrameError: ``no-scene``: nobody knows the file. PluginError: what a data set registered cannot be loaded, or gives something else.
    """
    if not frame.info.simulated:
        return None
    asked = set()
    for entry in get_registry().entries("datasets"):
        reference = entry.metadata.get("scene")
        if reference is None or reference in asked:
            continue
        asked.add(reference)
        scene = replace(entry, build=reference).load()(frame.info)
        if isinstance(scene, Observation):
            return scene
        if scene is not None:
            raise PluginError(
                f"{entry.owner}:{entry.name}: its scene gave a {type(scene).__name__}, expected a zoo.frames.Observation or None"
            )
    raise FrameError(
        "no-scene",
        path=frame.info.path,
        hdu=frame.info.hdu,
        got="a simulated file that does not say how it was made",
        expected="one of a data set of the loaded plugins",
        remedy="remove it, so that its set makes it again, or load the plugin that made it",
    )
