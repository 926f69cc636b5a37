"""python -m unittest spark.test_spark, in tools/: what training and evaluation rely on."""

import json
import random
import tempfile
import unittest
from argparse import Namespace
from pathlib import Path

import torch

from . import evaluation, fonts, settings, tasks
from .answers import is_right
from .batches import Encoder, collate, target_size
from .model import Spark, answer_loss
from .questions import LABELS, Sample, is_held
from .train import Training
from .verify import read_sample

STAGES = {"steps": 24, "vision_steps": 8, "practice_steps": 8}
OPTIONS = {**STAGES, "batch": 4, "processes": 1, "seed": 1, "log": 100, "every": 100, "watch": 1}


class SparkTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.encoder = Encoder(settings.write_folder(self.folder, tasks.sentences()))
        torch.set_num_threads(1)

    def test_questions_of_a_row_are_as_alone(self):
        model, draw = Spark(3), random.Random(0)
        samples = (tasks.training_sample(draw, 1.0) for _ in range(1000))
        sample = next(sample for sample in samples if len(sample.turns) == 3 and sample.pictures)
        together, count = self.loss(model, sample, [True, False, True])
        alone = [
            self.loss(model, Sample([turn], sample.pictures), [thinks])
            for turn, thinks in zip(sample.turns, [True, False, True])
        ]
        self.assertEqual(count, sum(number for _, number in alone))
        self.assertAlmostEqual(together * count, sum(loss * number for loss, number in alone), places=3)

    def loss(self, model, sample, thinking):
        batch = collate([self.encoder.training_row(sample, thinking)])
        with torch.no_grad():
            return float(answer_loss(model, batch, model.see(batch))), int((batch["labels"] >= 0).sum())

    def test_held_out_contents_are_not_trained_on(self):
        said = {held: set() for held in (False, True)}
        for held in said:
            for index in range(600):
                sample = tasks.task_sample(random.Random(f"{held} {index}"), ["word", "add"][index % 2], held)
                said[held].add(sample.turns[0].thought)
        self.assertFalse(said[False] & said[True])
        self.assertGreater(len(said[True]), 100)

    def test_other_tasks_do_not_show_held_out_texts(self):
        for index in range(300):
            draw = random.Random(index)
            makers = tasks.pair_sample, tasks.screen_sample, tasks.buttons_sample, tasks.page_sample
            maker = makers[index % len(makers)]
            sample = maker(draw, 1.0, False, fonts.TRAINED)
            for picture in sample.pictures:
                marks = sorted(mark for mark in picture.marks if mark.kind in fonts.CHARACTERS)
                for box in {mark.box for mark in marks}:
                    text = "".join(mark.kind for mark in marks if mark.box == box)
                    self.assertFalse(len(text) > 1 and text not in LABELS and is_held(text), text)

    def test_a_resumed_run_is_the_same(self):
        whole, first = (self.folder / name for name in ("whole", "first"))
        for folder in (whole, first):
            settings.write_folder(folder, tasks.sentences())
        one = self.training(whole, 24)
        for stop in (11, 19):
            self.training(first, stop)
        two = self.training(first, 24)
        self.assertEqual((one.step, two.step), (24, 24))
        for name, weight in one.objective.state_dict().items():
            self.assertTrue(torch.equal(weight, two.objective.state_dict()[name]), name)

    def training(self, folder, until, **options):
        training = Training(0, Namespace(**{**OPTIONS, **options}, out=str(folder)))
        training.run(until)
        training.save()
        return training

    def test_a_run_of_the_vision_tower_alone_ends(self):
        self.assertEqual(self.training(self.folder, 8, steps=8, practice_steps=0).step, 8)

    def test_sizes_are_the_official_ones(self):
        self.assertEqual(
            [target_size(64, 96), target_size(240, 320), target_size(200, 61)], [(80, 112), (112, 144), (160, 48)]
        )

    def test_judges(self):
        self.assertTrue(is_right("[0.10, 0.10, 0.30, 0.30]", "[0.15, 0.15, 0.25, 0.25]", "centre"))
        self.assertFalse(is_right("[0.10, 0.10, 0.60, 0.30]", "[0.15, 0.15, 0.25, 0.25]", "centre"))
        self.assertFalse(is_right("no box", "[0.15, 0.15, 0.25, 0.25]", "centre"))
        self.assertTrue(is_right("42", "42", "exact"))
        self.assertFalse(is_right("4 2", "42", "exact"))

    def test_an_evaluation_set_is_read_as_written(self):
        evaluation.write_set(self.folder, 1, {"trained": 3, "held-out": 0})
        lines = evaluation.read_set(self.folder / "tasks.jsonl")
        self.assertEqual(len(lines), 3 * len(tasks.TASKS))
        for line in lines:
            sample = read_sample(line)
            self.assertEqual(len(sample.pictures), len(line["images"]))
            self.assertEqual(sample.turns[0].answer, line["answer"])
        cases = json.loads((self.folder / "cases.json").read_text())
        self.assertEqual([len(case["images"]) for case in cases if "compare" in case["name"]], [2])


if __name__ == "__main__":
    unittest.main()
