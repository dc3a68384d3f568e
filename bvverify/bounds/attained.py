"""Greatest values whose gradients are the points that attain them.

Each function here is a maximum over something small: a box, the points of a hull, the segments of an envelope.  Its
gradient needs nothing but the point that attains it, so that hardly anything has to be kept or computed again.  On
processors, masks are multiplied and interpolated with: `torch.where` takes twenty times as long.
"""

from typing import Any

import torch
from torch import Tensor

from bvverify.bounds.hull import POINTS


def on_box(rows: Tensor, middle: Tensor, radius: Tensor) -> Tensor:
    """Return the greatest values [N] of rows [N, P] on boxes, middle and radius [S, P], S is 1 or N."""
    found: Tensor = _OnBox.apply(rows, middle, radius)  # type: ignore[no-untyped-call]
    return found


def on_hull(row: Tensor, back: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Return the greatest values [N, E] of row * y - back * x, [N, E] each, on hulls: points x and y [S, POINTS, E]."""
    found: Tensor = _OnHull.apply(row, back, x, y)  # type: ignore[no-untyped-call]
    return found


class _OnBox(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, rows: Tensor, middle: Tensor, radius: Tensor) -> Tensor:
        context.save_for_backward(rows, middle, radius)
        if len(middle) == 1:
            return rows @ middle[0] + rows.abs() @ radius[0]
        return (rows * middle).sum(1) + (rows.abs() * radius).sum(1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        rows, middle, radius = context.saved_tensors
        point = torch.copysign(radius.expand_as(rows), rows).add_(middle)
        return point.mul_(gradients[0][:, None]), None, None


class _OnHull(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, row: Tensor, back: Tensor, x: Tensor, y: Tensor) -> Tensor:
        at_x, at_y = x[:, 0].expand_as(row), y[:, 0].expand_as(row)
        greatest = row * at_y - back * at_x
        for point in range(1, POINTS):
            next_x, next_y = x[:, point], y[:, point]
            reached = (row * next_y).addcmul_(back, next_x, value=-1)
            greater = (reached > greatest).to(row.dtype)
            greatest = torch.maximum(reached, greatest, out=reached)
            at_x = torch.lerp(at_x, next_x.expand_as(row), greater)
            at_y = torch.lerp(at_y, next_y.expand_as(row), greater)
        context.save_for_backward(at_x, at_y)
        return greatest

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None, None]:
        at_x, at_y = context.saved_tensors
        return gradients[0] * at_y, -gradients[0] * at_x, None, None


def intercept(
    slant: Tensor,
    steepness: Tensor,
    *,
    weight: Tensor,
    offset: Tensor,
    corners: tuple[Tensor, Tensor],
    middle: Tensor,
    radius: Tensor,
) -> Tensor:
    """Return k [A, U] such that level + steepness * (sums - corner) <= slant . x + k in every segment of U units'
    envelopes, on boxes; see `bvverify.bounds.envelope`.

    `slant` [A, U, P], `steepness` [A, U, segments, alternatives, sums]; `weight` [U, alternatives, sums, P], `offset`
    [U, alternatives, sums]; `corners`: x and y [S, U, segments, 2]; `middle` and `radius` [S, U or 1, P]; A and S are
    1 or N.
    """
    around = (weight, offset, *corners, middle, radius)
    found: Tensor = _Intercept.apply(slant, steepness, *around)  # type: ignore[no-untyped-call]
    return found


class _Intercept(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, slant: Tensor, steepness: Tensor, *around: Tensor) -> Tensor:
        weight, offset, x, y, middle, radius = around
        corner, ends = (y[:, :, :, None] - steepness.sum(-1)[..., None] * x[:, :, :, None]).max(-1)
        if weight.shape[2] == 1:
            forms = steepness * weight[:, None, :, 0]
        else:
            forms = torch.einsum("augit,uitp->augip", steepness, weight)
        forms -= slant[:, :, None, None]
        reached = corner + (steepness * offset[:, None]).sum(-1)
        reached += _along(forms, middle[:, :, None, None])
        reached += _along(forms.abs_(), radius[:, :, None, None])
        best = reached.flatten(2).argmax(2)
        segment, alternative = best // reached.shape[3], best % reached.shape[3]
        end = ends.flatten(2).gather(2, best[..., None])[..., 0]
        parts, places = (torch.arange(size, device=slant.device) for size in slant.shape[:2])
        parts, cases = parts[:, None], torch.arange(len(x), device=slant.device)[:, None]
        at_x, at_y = (tensor[cases, places, segment, end] for tensor in (x, y))
        read = weight[places, alternative] if weight.shape[1] > 1 else weight[None, :, 0]
        steep = steepness[parts, places, segment, alternative]
        form = (steep * read[:, :, 0] if steep.shape[2] == 1 else (steep[..., None] * read).sum(2)).sub_(slant)
        point = torch.copysign(radius.expand_as(form), form).add_(middle)
        beyond = (read * point[:, :, None]).sum(-1) + offset[places, alternative] - at_x[..., None]
        context.save_for_backward(point, beyond, segment, alternative)
        context.shape = steepness.shape
        return at_y + (steep * beyond).sum(-1) - (slant * point).sum(-1)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        point, beyond, segment, alternative = context.saved_tensors
        each = gradients[0][..., None]
        parts, places = (torch.arange(size, device=point.device) for size in point.shape[:2])
        steepness = torch.zeros(context.shape, device=point.device)
        steepness[parts[:, None], places, segment, alternative] = each * beyond
        return point.mul_(-each), steepness, *[None] * 6


def _along(rows: Tensor, point: Tensor) -> Tensor:
    """Return rows [..., P] times points that broadcast to them, summed over P."""
    one_for_all = point.shape[-2] == 1
    return (rows @ point.transpose(-1, -2)).squeeze(-1) if one_for_all else (rows * point).sum(-1)
