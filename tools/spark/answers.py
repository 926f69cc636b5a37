"""Greedy answers and how they are judged."""

import re

import torch

from .batches import collate, extend
from .settings import IM_END

MODES = ["hybrid", "think", "nothink"]
MOST = 64  # tokens of an answer
EDGE = r"\s*(\d+(?:\.\d+)?|\.\d+)\s*"
BOX = re.compile(rf"\[{EDGE},{EDGE},{EDGE},{EDGE}\]")


@torch.inference_mode()
def generate(model, rows):
    """Greedy continuations of prompt rows, as lists of ids without the end; the rows are extended."""
    features = model.see(collate(rows))
    texts, open_rows = [[] for _ in rows], set(range(len(rows)))
    for _ in range(MOST):
        batch = collate(rows)
        last = torch.tensor([len(row.ids) - 1 for row in rows]) + torch.arange(len(rows)) * batch["ids"].shape[1]
        for index, token in enumerate(model(batch, features, last).argmax(-1).tolist()):
            if token == IM_END:
                open_rows.discard(index)
            if index in open_rows:
                texts[index].append(token)
            extend(rows[index], [token])
        if not open_rows:
            break
    return texts


def final_answer(text):
    """What is said after the reasoning."""
    return text.split("</think>")[-1].replace("<|dummy_84|>", "").strip()


def is_right(answer, expected, judge):
    """exact: the same text. centre: the middle of the answer's first box lies in the expected box."""
    if judge == "exact":
        return answer == expected
    found, wanted = first_box(answer), first_box(expected)
    if found is None:
        return False
    x, y = (found[0] + found[2]) / 2, (found[1] + found[3]) / 2
    return wanted[0] <= x <= wanted[2] and wanted[1] <= y <= wanted[3]


def first_box(text):
    """[left, top, right, bottom] in shares of the picture, or None."""
    match = BOX.search(text)
    return [float(edge) for edge in match.groups()] if match else None


def answer_samples(model, encoder, samples, modes, size=32):
    """The raw texts of greedy answers to each sample's first question."""
    texts = []
    for start in range(0, len(samples), size):
        part = zip(samples[start : start + size], modes[start : start + size])
        ids = generate(model, [encoder.prompt_row(sample, mode) for sample, mode in part])
        texts += [encoder.tokenizer.decode(one, skip_special_tokens=False) for one in ids]
    return texts
