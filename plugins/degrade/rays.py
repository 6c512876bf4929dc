"""Find cosmic rays and hot pixels in one exposure, and what would have been there without them.

After L.A.Cosmic (van Dokkum 2001, PASP 113, 1420): the positive part of the Laplacian at half pixels, in units of the noise, less its
median over 5x5, tells what is sharp; compared with the structure that is left between medians over 3x3 and 7x7 it tells rays from stars.
The medians are taken where the Laplacian is high only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Chosen on simulated ACS and UVIS images with 300 stars and tracks of 450 electrons per pixel: of the charge of the tracks 0.72 to
# 0.74 is found, of the light of the stars 0.001 to 0.006 is taken. Van Dokkum's 4.5 and 5, for brighter tracks, find half of the charge.
SHARP = 3.0  # deviations above which a pixel may be hit
CONTRAST = 3.0  # Laplacian over fine structure
BESIDE = 4.0  # deviations above its surroundings of a pixel beside one that is hit
ROUNDS = 4
_CHUNK = 20_000


def split_rays(image: Tensor, read_noise: float) -> tuple[Tensor, Tensor]:
    """Divide an image into light and the charge of cosmic rays and hot pixels.

    Args:
        image: ``(1, H, W)`` float32, electrons; pixels without a value are NaN.
        read_noise: electrons.
    Returns: the light, ``(1, H, W)``, with every pixel filled: the median of the 5x5 around it where it was hit or had no value; and
        the charge that the hits left there, 0 elsewhere.
    """
    pixels = image[0]
    valid = torch.isfinite(pixels)
    level = float(pixels[valid].median()) if bool(valid.any()) else 0.0
    clean = _fill(torch.where(valid, pixels, level), ~valid)
    hit = torch.zeros_like(valid)
    for _ in range(ROUNDS):
        new = find_rays(clean, read_noise) & ~hit
        if not bool(new.any()):
            break
        hit = _grow(hit | new, torch.where(valid, pixels, clean), clean, read_noise)
        clean = _fill(torch.where(valid, pixels, clean), hit | ~valid)
    excess = torch.where(hit & valid, pixels - clean, 0.0)
    return clean[None], excess[None]


def find_rays(pixels: Tensor, read_noise: float) -> Tensor:
    """Where an image is hit: ``(H, W)`` bool.

    Args:
        pixels: ``(H, W)`` float32, electrons, all finite. read_noise: electrons.
    """
    # Laplacian of the image with every pixel repeated 2 x 2: each quarter sees two of its pixel's neighbours.
    padded = F.pad(pixels[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    up, down, left, right = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
    laplacian = torch.zeros_like(pixels)
    for vertical in (up, down):
        for horizontal in (left, right):
            laplacian += (2 * pixels - vertical - horizontal).clamp_min_(0) / 16
    floor = max(float(torch.quantile(pixels.flatten()[:: max(1, pixels.numel() // 100_000)], 0.01)), 0.0)
    # No noise is lower than that of the darkest pixels, so nothing sharp is overlooked.
    candidates = torch.nonzero(laplacian > 2 * SHARP * max(floor + read_noise**2, 1e-6) ** 0.5)
    wide = F.pad(pixels[None, None], (4, 4, 4, 4), mode="replicate")[0, 0]
    sharp = F.pad(laplacian[None, None], (2, 2, 2, 2), mode="replicate")[0, 0]
    hit = torch.zeros_like(pixels, dtype=torch.bool)
    for part in torch.split(candidates, _CHUNK):
        patch = _patches(wide, part, 9)
        noise = (2 * (patch[:, 2:7, 2:7].flatten(1).median(1).values.clamp_min(0) + read_noise**2).sqrt()).clamp_min(1e-3)
        peak = laplacian[part[:, 0], part[:, 1]]
        significance = (peak - _patches(sharp, part, 5).flatten(1).median(1).values) / noise
        smooth = patch.unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).median(3).values
        fine = (smooth[:, 3, 3] - smooth.flatten(1).median(1).values).clamp_min(0.01 * noise)
        part = part[(significance > SHARP) & (peak > CONTRAST * fine)]
        hit[part[:, 0], part[:, 1]] = True
    return hit


def _grow(hit: Tensor, pixels: Tensor, clean: Tensor, read_noise: float) -> Tensor:
    """The skirts of hits: pixels beside them that stand out of what their surroundings are without them."""
    beside = (F.max_pool2d(hit[None, None].float(), 3, 1, 1)[0, 0] > 0) & ~hit
    places = torch.nonzero(beside)
    if not len(places):
        return hit
    known = torch.where(hit | beside, torch.nan, clean)
    padded = F.pad(known[None, None], (4, 4, 4, 4), value=float("nan"))[0, 0]
    around = torch.cat([_patches(padded, part, 9).flatten(1).nanmedian(1).values for part in torch.split(places, _CHUNK)])
    noise = (around.clamp_min(0) + read_noise**2).sqrt()
    places = places[pixels[places[:, 0], places[:, 1]] - around > BESIDE * noise]  # not where nothing around is known
    grown = hit.clone()
    grown[places[:, 0], places[:, 1]] = True
    return grown


def _patches(padded: Tensor, places: Tensor, side: int) -> Tensor:
    """The squares of a side around pixels of an image that was padded by half of it: ``(K, side, side)``."""
    reach = torch.arange(side)
    return padded[places[:, 0, None, None] + reach[:, None], places[:, 1, None, None] + reach]


def _fill(pixels: Tensor, missing: Tensor) -> Tensor:
    """The image with the median of the 5x5 around it, or 9x9 where nothing of that is left, in each missing pixel."""
    result = pixels.clone()
    known = torch.where(missing, torch.nan, pixels)
    padded = F.pad(known[None, None], (4, 4, 4, 4), value=float("nan"))[0, 0]
    for part in torch.split(torch.nonzero(missing), _CHUNK):
        patch = _patches(padded, part, 9)
        near = patch[:, 2:7, 2:7].flatten(1).nanmedian(1).values
        near = torch.where(torch.isnan(near), patch.flatten(1).nanmedian(1).values, near)
        result[part[:, 0], part[:, 1]] = torch.where(torch.isnan(near), result[part[:, 0], part[:, 1]], near)
    return result
