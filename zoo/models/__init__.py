"""Models by name, their folders on disk, and what they cost.

Names are imported when first used, so that listing models needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.models.build import create_model as create_model
    from zoo.models.build import describe_model as describe_model
    from zoo.models.build import list_models as list_models
    from zoo.models.checkpointing import checkpoint_blocks as checkpoint_blocks
    from zoo.models.directory import LoadedModel as LoadedModel
    from zoo.models.directory import load as load
    from zoo.models.directory import save_model as save_model
    from zoo.models.freeze import Frozen as Frozen
    from zoo.models.freeze import freeze_until as freeze_until
    from zoo.models.macs import count_buffers as count_buffers
    from zoo.models.macs import count_macs as count_macs
    from zoo.models.macs import count_parameters as count_parameters
    from zoo.models.places import resolve_run as resolve_run
    from zoo.models.prepare import Prepared as Prepared
    from zoo.models.prepare import prepare_inference as prepare_inference
    from zoo.models.pretrained import PretrainedReport as PretrainedReport
    from zoo.models.pretrained import load_pretrained as load_pretrained
    from zoo.models.shape import check_build_shape as check_build_shape
    from zoo.models.shape import check_input_shape as check_input_shape
    from zoo.models.streaming import stream_stem as stream_stem

_HOME = {
    "Frozen": "freeze",
    "LoadedModel": "directory",
    "Prepared": "prepare",
    "PretrainedReport": "pretrained",
    "check_build_shape": "shape",
    "check_input_shape": "shape",
    "checkpoint_blocks": "checkpointing",
    "count_buffers": "macs",
    "count_macs": "macs",
    "count_parameters": "macs",
    "create_model": "build",
    "describe_model": "build",
    "freeze_until": "freeze",
    "list_models": "build",
    "load": "directory",
    "load_pretrained": "pretrained",
    "prepare_inference": "prepare",
    "resolve_run": "places",
    "save_model": "directory",
    "stream_stem": "streaming",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
