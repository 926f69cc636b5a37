"""Samples as tensors: one row is a system prompt and pictures, then one branch per question.

The branches of a row do not see each other and each stands at the positions that it would have alone, so several questions
share the cost of a picture and every branch is exactly a prompt and its answer.
"""

import functools
import math
import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from . import drawing
from .settings import GRID, IM_END, MAX_PATCHES, MIN_PATCHES, NO_THINK, PATCH, SYSTEM, THINK
from .tasks import SEEING, training_sample

IGNORED = -100  # the label of what is not learnt
IMAGE = -1  # the id of a position that a patch takes
SLOTS = 3  # characters or shapes of one patch that are learnt, the first ones from the left
BEFORE = f"<|im_start|>system<|im_sep|>{SYSTEM}<|im_end|>\n<|im_start|>user<|im_sep|>"
AFTER = "<|im_end|>\n<|im_start|>assistant<|im_sep|>\n"
POOL = 8  # steps whose rows are sorted by length together


@functools.lru_cache(4096)
def target_size(height, width):
    """Height and width that the official image processor resizes to."""
    budget = min(max((width // PATCH) * (height // PATCH), MIN_PATCHES), MAX_PATCHES)
    fit = lambda scale, side: max(PATCH, PATCH * math.ceil(side * scale / PATCH))
    low, high = 1e-6, 100.0
    while high - low >= 1e-5:
        middle = (low + high) / 2
        if (fit(middle, height) // PATCH) * (fit(middle, width) // PATCH) <= budget:
            low = middle
        else:
            high = middle
    return fit(low, height), fit(low, width)


@dataclass
class Patches:
    """One picture: pixels u8 [patches, 768], the grid, and what each patch shows (targets of the auxiliary loss)."""

    pixels: np.ndarray
    grid: tuple
    kinds: np.ndarray  # i64 [patches, SLOTS], 0 for nothing
    order: np.ndarray  # i64 [patches], -1 for nothing
    color: np.ndarray  # i64 [patches], -1 for none
    boxes: np.ndarray  # f32 [patches, 4], shares of width and height, NaN for none


def patchify(picture):
    """A drawn picture as patches, resized as the official processor does."""
    image, (height, width) = picture.image, (picture.image.height, picture.image.width)
    new_height, new_width = target_size(height, width)
    if (new_height, new_width) != (height, width):
        image = image.resize((new_width, new_height), Image.Resampling.BILINEAR)
    rows, columns = new_height // PATCH, new_width // PATCH
    pixels = (
        np.asarray(image).reshape(rows, PATCH, columns, PATCH, 3).transpose(0, 2, 1, 3, 4).reshape(rows * columns, -1)
    )
    patches = Patches(
        pixels,
        (rows, columns),
        np.zeros((rows * columns, SLOTS), np.int64),
        np.full(rows * columns, -1),
        np.full(rows * columns, -1),
        np.full((rows * columns, 4), np.nan, np.float32),
    )
    for mark in sorted(picture.marks):
        row, column = (min(rows - 1, int(mark.y / height * rows)), min(columns - 1, int(mark.x / width * columns)))
        note(patches, row * columns + column, mark, (width, height))
    return patches


def note(patches, index, mark, size):
    """Writes a mark into the targets of its patch."""
    free = np.flatnonzero(patches.kinds[index] == 0)
    if len(free) == SLOTS:
        patches.order[index] = mark.order
        patches.color[index] = mark.color
    if len(free):
        patches.kinds[index, free[0]] = drawing.KINDS.index(mark.kind)
    if mark.box:
        patches.boxes[index] = [edge / size[axis % 2] for axis, edge in enumerate(mark.box)]


@dataclass
class Row:
    """One sequence and its pictures."""

    ids: list
    segments: list  # 0 for what all branches see, else the branch
    positions: list
    labels: list
    patches: list


class Encoder:
    """Turns samples into rows with a tokenizer."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer
        self.encode = functools.lru_cache(100_000)(
            lambda text: tuple(tokenizer.encode(text, add_special_tokens=False).ids)
        )

    def prefix(self, pictures):
        """The row of the system prompt and the pictures, before any question."""
        patches = [patchify(picture) for picture in pictures]
        ids = list(self.encode(BEFORE))
        for number, picture in enumerate(patches):
            ids += [*(self.encode("\n") if number else ()), *[IMAGE] * len(picture.pixels)]
        return Row(ids, [0] * len(ids), list(range(len(ids))), [IGNORED] * len(ids), patches)

    def question(self, turn, has_picture):
        """The ids of a question with its history, up to where the answer begins."""
        text = "\n" if has_picture else ""
        for question, answer in turn.history:
            text += question + AFTER + answer + "<|im_end|>\n<|im_start|>user<|im_sep|>"
        return self.encode(text + turn.question + AFTER)

    def training_row(self, sample, thinking):
        """The row of a sample; thinking says of each question whether its answer is thought through."""
        row = self.prefix(sample.pictures)
        shared = len(row.ids)
        for branch, (turn, thinks) in enumerate(zip(sample.turns, thinking), 1):
            prompt = self.question(turn, bool(sample.pictures))
            answer = f"<think>{turn.thought}</think>{turn.answer}" if thinks else f"<|dummy_84|>{turn.answer}"
            answer = [*self.encode(answer), IM_END]
            ids = [*prompt, *answer]
            own_choice = thinks == turn.hard  # then the mode is learnt, too
            learnt = answer if own_choice else [IGNORED, *answer[1:]]
            row.ids += ids
            row.segments += [branch] * len(ids)
            row.positions += range(shared, shared + len(ids))
            row.labels += [IGNORED] * (len(prompt) - 1) + learnt + [IGNORED]
        return row

    def prompt_row(self, sample, mode):
        """The row of a sample's first question up to the answer, in a mode."""
        row = self.prefix(sample.pictures)
        opening = {"hybrid": [], "think": [THINK], "nothink": [NO_THINK]}[mode]
        extend(row, [*self.question(sample.turns[0], bool(sample.pictures)), *opening])
        return row


def extend(row, ids):
    """Appends tokens to the first branch of a row."""
    row.ids += ids
    row.segments += [1] * len(ids)
    row.positions = list(range(len(row.ids)))
    row.labels += [IGNORED] * len(ids)


@functools.cache
def position_weights(rows, columns):
    """The antialiased bilinear resize of the table of positions as a matrix [rows * columns, GRID * GRID]."""
    table = torch.eye(GRID * GRID).reshape(1, GRID * GRID, GRID, GRID)
    resized = F.interpolate(table, size=(rows, columns), mode="bilinear", align_corners=False, antialias=True)
    return resized[0].reshape(GRID * GRID, -1).T.contiguous()


def padded(arrays, value):
    """Arrays of different lengths as one tensor."""
    longest = max(len(array) for array in arrays)
    first = torch.as_tensor(arrays[0])
    out = torch.full((len(arrays), longest, *first.shape[1:]), value, dtype=first.dtype)
    for index, array in enumerate(arrays):
        out[index, : len(array)] = torch.as_tensor(array)
    return out


def collate(rows):
    """A batch as a dictionary of tensors: text of all rows, and patches of all their pictures."""
    ids, segments = padded([row.ids for row in rows], 0), padded([row.segments for row in rows], -1)
    place = torch.arange(ids.shape[1])
    sees = (segments[:, None] == 0) | (segments[:, None] == segments[:, :, None])
    sees = sees & (place[:, None] >= place) & (segments[:, None] >= 0) | torch.eye(len(place), dtype=torch.bool)
    batch = {
        "ids": ids,
        "positions": padded([row.positions for row in rows], 0),
        "labels": padded([row.labels for row in rows], IGNORED),
        "sees": sees[:, None],
    }
    pictures = [picture for row in rows for picture in row.patches]
    if pictures:
        batch |= {
            "pixels": padded([picture.pixels for picture in pictures], 0),
            "real": padded([np.ones(len(picture.pixels), bool) for picture in pictures], False),
            "position_weights": padded([position_weights(*picture.grid) for picture in pictures], 0.0),
            "kinds": torch.cat([torch.from_numpy(picture.kinds) for picture in pictures]),
            "order": torch.cat([torch.from_numpy(picture.order) for picture in pictures]),
            "color": torch.cat([torch.from_numpy(picture.color) for picture in pictures]),
            "boxes": torch.cat([torch.from_numpy(picture.boxes) for picture in pictures]),
        }
    return batch


def training_batches(encoder, seed, step, rank, size, level, stage):
    """The rows of the POOL steps that step belongs to, from step on: they follow from seed, step and rank alone."""
    first = step // POOL
    draw = random.Random(f"{seed}/{first}/{rank}")
    rows = [draw_row(encoder, draw, level, stage) for _ in range(size * POOL)]
    rows.sort(key=lambda row: len(row.ids))
    order = list(range(POOL))
    random.Random(f"{seed}/{first}").shuffle(order)  # all ranks take rows of like length in a step
    return [rows[index * size : (index + 1) * size] for index in order[step % POOL :]]


def draw_row(encoder, draw, level, stage):
    """A sample of the stage with its questions; while the vision tower learns alone, its pictures."""
    sample = training_sample(draw, level, stage)
    if stage == SEEING:
        return encoder.prefix(sample.pictures)
    return encoder.training_row(sample, [draw.random() < (0.6 if turn.hard else 0.3) for turn in sample.turns])
