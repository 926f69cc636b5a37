#!/usr/bin/env python3
"""Trains the small checkpoint that reads pictures, on two CPU cores, and evaluates it.

    pip install torch==2.13.0 tokenizers==0.22.2 safetensors pillow==12.3.0 numpy
    tools/train_spark.py train --out DIR                      two hours; goes on where it was interrupted
    tools/train_spark.py draw --out FILE                      what the pictures and questions look like
    tools/train_spark.py tasks --out DIR                      an evaluation set (pip install matplotlib: fonts never trained on)
    tools/train_spark.py evaluate --model DIR --tasks FILE    accuracy on it, by this code
    tools/train_spark.py verify --model DIR --tasks FILE --code DIR --out FILE   the official code's answers, and how far
                                                              its logits are from this code's

bench/accuracy/README.md describes the tasks file. verify needs what tools/reference.py needs, with the same --code.
"""

import argparse
import json
import random
import sys
from pathlib import Path

from spark import drawing, settings, tasks


def parse_arguments():
    description, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(
        description=description, epilog=details, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("train", help="train a checkpoint")
    command.add_argument(
        "--out", required=True, metavar="DIR", help="model folder; state.pt and curve.jsonl stand there, too"
    )
    command.add_argument("--steps", type=int, default=8448, help="updates in all (default: 8448)")
    command.add_argument(
        "--vision-steps", type=int, default=4600, help="of them for the vision tower alone (default: 4600)"
    )
    command.add_argument(
        "--practice-steps", type=int, default=1800, help="of them, the last, mostly for what is hard (default: 1800)"
    )
    command.add_argument("--batch", type=int, default=128, help="rows of an update (default: 128)")
    command.add_argument("--processes", type=int, default=2, help="of one thread each (default: 2)")
    command.add_argument("--seed", type=int, default=1)
    command.add_argument("--log", type=int, default=100, metavar="STEPS", help="between lines about the loss")
    command.add_argument("--every", type=int, default=500, metavar="STEPS", help="between lines about accuracy")
    command.add_argument("--watch", type=int, default=18, metavar="N", help="questions of each task that tell accuracy")
    command = commands.add_parser("draw", help="draw samples of every task")
    command.add_argument("--out", required=True, metavar="FILE", help="the PNG file")
    command.add_argument("--task", choices=tasks.TASKS, action="append", help="only this task; may be repeated")
    command.add_argument("--count", type=int, default=6, help="samples of each task")
    command.add_argument("--seed", type=int, default=1)
    command = commands.add_parser("tasks", help="write an evaluation set of held-out contents")
    command.add_argument("--out", required=True, metavar="DIR")
    command.add_argument("--seed", type=int, default=1)
    for name, text in (("evaluate", "answer a tasks file"), ("verify", "answer a tasks file with the official code")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--model", required=True, metavar="DIR", type=Path)
        command.add_argument("--tasks", required=True, metavar="FILE", type=Path)
        command.add_argument(
            "--out", required=name == "verify", metavar="FILE", type=Path, help="the answers, as JSON Lines"
        )
    command.add_argument("--code", required=True, metavar="DIR", type=Path, help="folder of modeling_phi4_visionr.py")
    options = parser.parse_args()
    if options.command == "train" and options.steps < options.vision_steps + options.practice_steps:
        least = options.vision_steps + options.practice_steps
        parser.error(f"--steps: expected at least --vision-steps and --practice-steps, {least}, got {options.steps}")
    return options


def say(text):
    print(text, file=sys.stderr, flush=True)


def run_train(options):
    from spark.train import train

    settings.write_folder(Path(options.out), tasks.sentences())
    train(options)


def run_draw(options):
    tiles = []
    for task in options.task or tasks.TASKS:
        for index in range(options.count):
            sample = tasks.task_sample(random.Random(f"{options.seed} {task} {index}"), task, held=False)
            turn = sample.turns[0]
            lines = [*(question for question, _ in turn.history), turn.question, turn.thought, turn.answer]
            tiles.append(([picture.image for picture in sample.pictures], [task, *lines]))
    drawing.contact_sheet(tiles, options.count).save(options.out)


def run_tasks(options):
    from spark.evaluation import write_set

    write_set(Path(options.out), options.seed)


def run_evaluate(options):
    from spark.evaluation import read_set, summary
    from spark.verify import evaluate

    results = evaluate(options.model, read_set(options.tasks), say)
    if options.out:
        lines = [
            {"name": line["name"], "answer": line["answer"], "text": text, "right": right}
            for line, text, right in results
        ]
        options.out.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    print(summary([(line, right) for line, _, right in results]))


def run_verify(options):
    from spark.evaluation import read_set, summary
    from spark.verify import verify

    results, worst = verify(options.model, read_set(options.tasks), options.code, options.out, say)
    print(f"{summary(results)}\n\nlargest difference of logits: {worst:.2g}")


def main():
    options = parse_arguments()
    commands = {
        "train": run_train,
        "draw": run_draw,
        "tasks": run_tasks,
        "evaluate": run_evaluate,
        "verify": run_verify,
    }
    commands[options.command](options)


if __name__ == "__main__":
    sys.exit(main())
