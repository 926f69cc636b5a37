"""Evaluation sets: a folder of a tasks file and its pictures, which anything that answers questions can be judged by.

bench/accuracy/README.md describes the tasks file. cases.json beside it has the first question of each task, for tools/reference.py.
"""

import json
import random
from pathlib import Path

from . import fonts, tasks
from .answers import MODES, MOST

STEPS = 28  # tokens whose logits the reference has
EACH = {"trained": 48, "held-out": 36}  # questions of a task, a third in each mode


def write_set(folder, seed, each=EACH):
    """Writes a set of held-out contents: every task with the trained fonts, and the reading ones with a family never trained on."""
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for family, faces, names in (("trained", fonts.TRAINED, tasks.TASKS), ("held-out", fonts.HELD_OUT, tasks.READING)):
        for task in names:
            asked = set()
            for index in range(each[family]):
                draw = random.Random(f"evaluation {seed} {family} {task} {index}")
                sample = fresh_sample(draw, task, faces, asked)
                lines.append(write_sample(folder, sample, task, family, index))
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "tasks.jsonl").write_text(text, encoding="utf-8")
    (folder / "cases.json").write_text(json.dumps(first_cases(lines), indent=1) + "\n", encoding="utf-8")


def first_cases(lines):
    """The first question of each task as tools/reference.py takes it, named as the task; its file then holds the reference logits."""
    firsts = {line["task"]: line for line in reversed(lines)}
    keys = "messages", "images", "mode"
    return [{"name": task, **{key: firsts[task][key] for key in keys}, "steps": STEPS} for task in tasks.TASKS]


def fresh_sample(draw, task, faces, asked):
    """A sample whose question and picture were not asked before."""
    for _ in range(1000):
        sample = tasks.task_sample(draw, task, True, faces)
        turn = sample.turns[0]
        key = turn.question, turn.history, *(picture.image.tobytes() for picture in sample.pictures)
        if key not in asked:
            break
    asked.add(key)
    return sample


def write_sample(folder, sample, task, family, index):
    """Saves the pictures of a sample and returns its line."""
    mode, turn = MODES[index % len(MODES)], sample.turns[0]
    name = f"{task}-{family}-{index:03}"
    images = [f"pictures/{name}-{number}.png" for number in range(len(sample.pictures))]
    for path, picture in zip(images, sample.pictures):
        picture.image.save(folder / path, optimize=True)
    questions = [*(pair[0] for pair in turn.history), turn.question]
    questions[0] = "<image>\n" * len(images) + questions[0]
    messages = [{"role": "user", "content": questions[0]}]
    for (_, answer), question in zip(turn.history, questions[1:]):
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": question}]
    return {
        "name": f"{name}-{mode}",
        "task": task,
        "family": family,
        "mode": mode,
        "messages": messages,
        "images": images,
        "answer": turn.answer,
        "judge": turn.judge,
        "steps": MOST,
    }


def read_set(path):
    """The lines of a tasks file, with pictures as paths."""
    path = Path(path)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [{**line, "images": [path.parent / image for image in line["images"]]} for line in lines]


def interval(right, count):
    """Wilson's 95 % interval of a share."""
    z, share = 1.96, right / count
    middle, half = share + z * z / (2 * count), z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def summary(results):
    """A Markdown table of accuracy by task, family and mode from (line, right) pairs."""
    groups = {}
    for line, right in results:
        heading = line["task"], line.get("family", "")
        for mode in ("all", line["mode"]):
            groups.setdefault(heading, {}).setdefault(mode, []).append(right)
    rows = ["| task | fonts | all | 95 % interval | " + " | ".join(MODES) + " |", "|---" * (4 + len(MODES)) + "|"]
    for (task, family), by_mode in groups.items():
        right, count = sum(by_mode["all"]), len(by_mode["all"])
        low, high = interval(right, count)
        cells = [f"{sum(by_mode[mode])}/{len(by_mode[mode])}" if mode in by_mode else "" for mode in MODES]
        rows.append(
            f"| {task} | {family} | {right / count:.3f} | {low:.2f} to {high:.2f} | " + " | ".join(cells) + " |"
        )
    return "\n".join(rows)
