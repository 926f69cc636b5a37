"""Training: the vision tower alone on what its patches show, then everything on answers, at last mostly on hard ones."""

import copy
import json
import os
import random
import time
from pathlib import Path

import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import nn
from torch.func import functional_call

from . import tasks
from .answers import MODES, answer_samples, final_answer, is_right
from .batches import IGNORED, POOL, Encoder, collate, training_batches
from .model import PatchReader, Spark, answer_loss
from .optimizer import Optimizer
from .settings import read_tokenizer
from .tasks import ANSWERING, PRACTISING, SEEING

WARM_UP = 100  # steps until the full learning rate
COOLING = 1460 / 6648, 7300 / 6648  # shares of the first two stages' steps from which to which it would fall to zero
PRACTICE_RATE = 0.3  # what the last stage begins with; it ends with zero
SAVE_SECONDS = 180
PART = 3200  # tokens of one forward and backward pass: few enough for the caches
HARDEST_AT = 0.6  # share of the vision steps after which pictures get no harder
VISION_ONLY = "model.model.vision_tower", "reader"


class Objective(nn.Module):
    """The network and the reader of its patches; gives both losses."""

    def __init__(self, seed):
        super().__init__()
        self.model, self.reader = Spark(seed), PatchReader(seed)

    def forward(self, batch, answers):
        features = self.model.see(batch)
        auxiliary = self.reader(features, batch) if features is not None else torch.zeros(())
        return answer_loss(self.model, batch, features) if answers else torch.zeros(()), auxiliary


class Training:
    """One process's part of a run; everything follows from the seed and the step."""

    def __init__(self, rank, options):
        self.rank, self.options, self.folder = rank, options, Path(options.out)
        self.encoder = Encoder(read_tokenizer(self.folder))
        self.objective = Objective(options.seed)
        self.weights = {name: weight for name, weight in self.objective.named_parameters() if weight.requires_grad}
        self.optimizer = Optimizer(self.weights, rank, options.processes)
        self.step, self.minutes, self.saved = 0, 0.0, time.monotonic()
        self.began = time.monotonic()
        self.state_file = self.folder / "state.pt"
        if self.state_file.exists():
            self.resume()

    def resume(self):
        state = torch.load(self.state_file)
        self.step, self.minutes = state["step"], state["minutes"]
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load(state["optimizer"])

    def save(self):
        """Writes the state and the checkpoint; each file appears whole."""
        state = {"step": self.step, "minutes": self.spent(), "objective": self.objective.state_dict()}
        part = self.state_file.with_suffix(".part")
        torch.save(state | {"optimizer": self.optimizer.state()}, part)
        part.replace(self.state_file)
        export(self.objective.model, self.folder)
        self.saved = time.monotonic()

    def spent(self):
        """Minutes of training, over all sessions."""
        return self.minutes + (time.monotonic() - self.began) / 60

    def now(self):
        return {"step": self.step, "minutes": round(self.spent(), 1)}

    def run(self, until):
        """Trains up to a step."""
        options, meter, queue = self.options, Meter(), []
        while self.step < until:
            if not queue:
                size = options.batch // options.processes
                queue = training_batches(
                    self.encoder, options.seed, self.step, self.rank, size, self.level(), self.stage()
                )
            start = time.monotonic()
            losses = self.train_step(queue.pop(0))
            self.step += 1
            meter.add(losses, time.monotonic() - start)
            if self.step % options.log == 0:
                self.say({**self.now(), "level": round(self.level(), 2), **meter.read(options)})
            if self.step % options.every == 0 and self.step > options.vision_steps:
                self.watch()
                meter = Meter()
            if self.rank == 0 and (time.monotonic() - self.saved > SAVE_SECONDS or self.step == options.steps):
                self.save()

    def stage(self):
        """What is learnt now: the vision tower alone, everything on answers, mostly hard ones."""
        if self.step < self.options.vision_steps:
            return SEEING
        return ANSWERING if self.step < self.practice_from() else PRACTISING

    def practice_from(self):
        return self.options.steps - self.options.practice_steps

    def learning(self):
        """The weights that are trained now."""
        if self.stage() != SEEING:
            return self.weights
        return {name: weight for name, weight in self.weights.items() if name.startswith(VISION_ONLY)}

    def level(self):
        """How hard the pictures are, 0 to 1: the same for all steps whose rows are drawn together."""
        return min(1.0, self.step // POOL * POOL / max(1, HARDEST_AT * self.options.vision_steps))

    def rate(self):
        """The share of the full learning rate."""
        if self.stage() == PRACTISING:
            return PRACTICE_RATE * (self.options.steps - self.step) / self.options.practice_steps
        begin, end = (share * self.practice_from() for share in COOLING)
        return min(1.0, (self.step + 1) / WARM_UP, (end - self.step) / (end - begin))

    def auxiliary_weight(self):
        """1 while only the vision tower learns, then down to a tenth."""
        if self.stage() == SEEING:
            return 1.0
        begin, end = self.options.vision_steps, COOLING[1] * self.practice_from()
        after = (self.step - begin) / (end - begin)
        return max(0.1, 1 - after)

    def train_step(self, rows):
        """Forward and backward in bf16 copies of the weights, part by part; gradients averaged and clipped; one update."""
        weights, answers = self.learning(), self.stage() != SEEING
        size = max(1, PART // max(len(row.ids) for row in rows))
        parts = [collate(rows[start : start + size]) for start in range(0, len(rows), size)]
        shares = [learnt(part, answers) for part in parts]
        losses = torch.zeros(2)
        for part, share in zip(parts, shares):
            halves = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
            loss, auxiliary = functional_call(self.objective, halves, (part, answers))
            loss, auxiliary = loss * share / sum(shares), auxiliary * (len(part["ids"]) / len(rows))
            (loss + self.auxiliary_weight() * auxiliary).backward()
            losses += torch.stack([loss, auxiliary]).detach()
        self.share_gradients(weights.values())
        self.optimizer.step(self.rate())
        return losses.tolist()

    def share_gradients(self, weights):
        """Averages the gradients over the processes and clips their norm to 1."""
        gradient = lambda weight: torch.zeros_like(weight) if weight.grad is None else weight.grad
        flat = torch.cat([gradient(weight).flatten() for weight in weights])
        if self.options.processes > 1:
            dist.all_reduce(flat)
            flat /= self.options.processes
        flat *= min(1.0, 1 / (flat.norm().item() + 1e-6))
        for weight, part in zip(weights, flat.split([weight.numel() for weight in weights])):
            weight.grad = part.view_as(weight)

    def watch(self):
        """Says how many of a fixed set of held-out questions are answered right; the processes share the tasks."""
        model = copy.deepcopy(self.objective.model).bfloat16()
        right = torch.zeros(len(tasks.TASKS))
        wrong = []
        for index in range(self.rank, len(tasks.TASKS), self.options.processes):
            results = watch_task(model, self.encoder, tasks.TASKS[index], self.options.watch)
            right[index] = sum(result is None for result in results)
            wrong += [result for result in results if result]
        if self.options.processes > 1:
            dist.all_reduce(right)
        shares = dict(zip(tasks.TASKS, (right / self.options.watch).tolist()))
        mean = sum(shares.values()) / len(shares)
        rounded = {task: round(share, 2) for task, share in shares.items()}
        self.say({**self.now(), "mean": round(mean, 3), "right": rounded})
        self.say({"wrong": random.Random(self.step).sample(wrong, min(6, len(wrong)))})

    def say(self, line):
        """Prints a line of JSON and keeps it in curve.jsonl."""
        if self.rank == 0:
            print(json.dumps(line), flush=True)
            with open(self.folder / "curve.jsonl", "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")


def learnt(part, answers):
    """How much of a step's loss a part has: tokens of answers, or pictures."""
    return int((part["labels"] != IGNORED).sum()) if answers else len(part["pixels"])


def watch_task(model, encoder, task, count):
    """For each of count held-out questions None where it is answered right, else what was asked, wanted and said."""
    samples = [tasks.task_sample(random.Random(f"watch {task} {index}"), task) for index in range(count)]
    modes = [MODES[index % len(MODES)] for index in range(count)]
    results = []
    for sample, mode, text in zip(samples, modes, answer_samples(model, encoder, samples, modes)):
        turn = sample.turns[0]
        right = is_right(final_answer(text), turn.answer, turn.judge)
        results.append(None if right else [task, mode, turn.question, turn.answer, text])
    return results


class Meter:
    """Means of what happened since it was read."""

    def __init__(self):
        self.losses, self.steps, self.computing, self.since = [0.0, 0.0], 0, 0.0, time.monotonic()

    def add(self, losses, seconds):
        self.losses = [total + loss for total, loss in zip(self.losses, losses)]
        self.steps += 1
        self.computing += seconds

    def read(self, options):
        wall = time.monotonic() - self.since
        line = {
            "loss": round(self.losses[0] / self.steps, 4),
            "auxiliary": round(self.losses[1] / self.steps, 4),
            "samples_per_second": round(self.steps * options.batch / wall),
            "drawing": round(1 - self.computing / wall, 2),
        }
        self.__init__()
        return line


def export(model, folder):
    """Writes the checkpoint in bf16."""
    tensors = {name: weight.detach().to(torch.bfloat16).contiguous() for name, weight in model.state_dict().items()}
    part = folder / "model.part"
    save_file(tensors, part, metadata={"format": "pt"})
    part.chmod(0o644)
    part.replace(folder / "model.safetensors")


def work(rank, options):
    """The body of one process."""
    torch.set_num_threads(1)
    if options.processes > 1:
        meeting = f"file://{os.path.abspath(options.out)}/meeting"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=options.processes)
    Training(rank, options).run(options.steps)


def train(options):
    """Trains, or goes on training, in options.processes processes of one thread each."""
    (Path(options.out) / "meeting").unlink(missing_ok=True)
    if options.processes > 1:
        torch.multiprocessing.spawn(work, (options,), options.processes)
    else:
        work(0, options)
