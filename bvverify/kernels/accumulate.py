"""Accumulators: how the products of a layer are summed, appended to a network under construction."""

import numpy as np
import numpy.typing as npt

from bvverify.network import Affine, Clamp, Gather, IntArray, NetworkBuilder

INT16 = Clamp(-(2**15), 2**15 - 1)


def accumulate_exact(builder: NetworkBuilder, taps: IntArray, weight: IntArray, zero_point: int) -> None:
    """Append  sum_k weight[g, m, k] * (x[p, g, k] - zero_point).

    `taps` (P, G, K) names elements of the current value, -1 a padding pixel, which contributes nothing; `weight`
    int64 [G, M, K].
    """
    builder.accumulate(taps, Affine(weight, _offset(weight, zero_point)), padding=zero_point)


def saturating_pairs(
    builder: NetworkBuilder, taps: IntArray, weight: IntArray, zero_point: int, raw: int
) -> npt.NDArray[np.bool_]:
    """Return which sums of two adjacent products can leave int16 for the current value's range: bool [G, M, ceil(K
    / 2)].

    Raw bytes are multiplied, which are the levels plus `raw`; padding pixels hold the zero point.
    """
    lower, upper = builder.bounds
    ends = [_with_padding(bound, taps, zero_point) + raw for bound in (lower, upper)]
    low, high = ends[0].min(axis=0)[:, None, :], ends[1].max(axis=0)[:, None, :]
    least = _in_pairs(np.minimum(weight * low, weight * high)).sum(axis=-1)
    greatest = _in_pairs(np.maximum(weight * low, weight * high)).sum(axis=-1)
    return np.asarray((least < INT16.lower) | (greatest > INT16.upper))


def accumulate_pairs(
    builder: NetworkBuilder,
    taps: IntArray,
    weight: IntArray,
    zero_point: int,
    raw: int,
    saturating: npt.NDArray[np.bool_],
) -> None:
    """Append  sum_i sat16(w[2i] b[2i] + w[2i+1] b[2i+1]) - (zero_point + raw) * sum(w)  for raw bytes b = x + raw,
    as FBGEMM does without VNNI (vpmaddubsw), and oneDNN, which moves signed bytes into the unsigned range.

    Only the pairs marked in `saturating` get a 16-bit clamp of their own; the others are summed directly.
    """
    positions, groups, _ = taps.shape
    channels = groups * weight.shape[1]
    source = builder.value
    group, member, pair = np.nonzero(saturating)
    both = np.stack([2 * pair, 2 * pair + 1], axis=1)
    padded_taps = np.concatenate([taps, np.full((positions, groups, 1), -1)], axis=2)
    padded_weight = np.concatenate([weight, np.zeros((*weight.shape[:2], 1), dtype=np.int64)], axis=2)
    pair_weight = padded_weight[group[:, None], member[:, None], both]
    rest = padded_weight.copy()
    rest[group[:, None], member[:, None], both] = 0

    # Three values, each (P, ...): the unsaturated rest, the clamped pairs, and their sum per channel.
    direct = builder.append(
        Affine(rest[..., : weight.shape[2]], _offset(weight, zero_point)),
        builder.append(Gather(taps, zero_point), source),
    )
    wires = builder.append(Gather(padded_taps[:, group[:, None], both], zero_point), source)
    sums = builder.append(Affine(pair_weight[:, None, :], raw * pair_weight.sum(axis=1)), wires)
    clamped = builder.append(INT16, sums)
    channel = group * weight.shape[1] + member
    terms = _terms_per_channel(channel, positions, channels)
    excess = np.zeros(channels, dtype=np.int64)
    np.add.at(excess, channel, raw * pair_weight.sum(axis=1))
    total = Affine(np.ones((channels, 1, terms.shape[2]), dtype=np.int64), -excess)
    builder.append(total, builder.append(Gather(terms), direct, clamped))


def _offset(weight: IntArray, zero_point: int) -> IntArray:
    return np.asarray(-zero_point * weight.sum(axis=2).reshape(-1))


def _with_padding(bound: IntArray, taps: IntArray, zero_point: int) -> IntArray:
    return np.where(taps < 0, zero_point, bound.reshape(-1)[taps])


def _in_pairs(products: IntArray) -> IntArray:
    if products.shape[-1] % 2:
        products = np.concatenate([products, np.zeros((*products.shape[:-1], 1), dtype=np.int64)], axis=-1)
    return products.reshape(*products.shape[:-1], -1, 2)


def _terms_per_channel(channel: IntArray, positions: int, channels: int) -> IntArray:
    """Return, for each position and channel, where its direct sum and its clamped pairs lie in the two values
    joined; -1 fills up.
    """
    pairs = len(channel)
    order = np.argsort(channel, kind="stable")
    count = np.bincount(channel, minlength=channels)
    slot = np.arange(pairs) - np.repeat(np.cumsum(count) - count, count)
    terms = np.full((positions, channels, 1 + int(count.max())), -1)
    position = np.arange(positions)[:, None]
    terms[:, :, 0] = position * channels + np.arange(channels)
    terms[:, channel[order], 1 + slot] = positions * channels + position * pairs + order
    return terms
