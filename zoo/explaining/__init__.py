"""Why a model errs: what its wrong frames have in common, which frames they resemble, and where in the frame the evidence was.

Names are imported when first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zoo.lazy import lazy_names

if TYPE_CHECKING:
    from zoo.explaining.cam import CamMap as CamMap
    from zoo.explaining.cam import GradCam as GradCam
    from zoo.explaining.explain import explain_errors as explain_errors
    from zoo.explaining.pictures import check_pictures as check_pictures
    from zoo.explaining.result import Explanation as Explanation
    from zoo.explaining.result import read_explanation as read_explanation

_HOME = {
    "CamMap": "cam",
    "Explanation": "result",
    "GradCam": "cam",
    "check_pictures": "pictures",
    "explain_errors": "explain",
    "read_explanation": "result",
}
__all__ = list(_HOME)
__getattr__, __dir__ = lazy_names(__name__, _HOME)
