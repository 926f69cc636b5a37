"""The official modelling code's answers to an evaluation set, beside this code's logits and answers."""

import json
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import load_file

import reference  # tools/reference.py

from .answers import answer_samples, final_answer, is_right
from .batches import Encoder, collate
from .drawing import Picture
from .model import Spark
from .questions import Sample, Turn
from .settings import IM_END, read_tokenizer


def load_spark(folder):
    """The network of a folder, in f32."""
    model = Spark()
    model.load_state_dict({name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()})
    return model.eval()


def read_sample(line):
    """A line of a tasks file as a sample of one question."""
    said = [message["content"].replace("<image>\n", "") for message in line["messages"]]
    history = tuple(zip(said[:-1:2], said[1::2]))
    pictures = [Picture(Image.open(path).convert("RGB")) for path in line["images"]]
    return Sample([Turn(line["task"], said[-1], line["answer"], "", False, history, line["judge"])], pictures)


def evaluate(folder, lines, say):
    """(line, text, right) of each line, answered by this code in f32."""
    model, encoder, results = load_spark(folder), Encoder(read_tokenizer(folder)), []
    for start in range(0, len(lines), 32):
        part = lines[start : start + 32]
        texts = answer_samples(model, encoder, [read_sample(line) for line in part], [line["mode"] for line in part])
        results += [(line, text, judge(line, text)) for line, text in zip(part, texts)]
        say(f"{len(results)} of {len(lines)}, {sum(right for *_, right in results)} right")
    return results


def judge(line, text):
    return is_right(final_answer(text), line["answer"], line["judge"])


class Official:
    """The checkpoint under the official code."""

    def __init__(self, folder, code):
        _, self.transformers = reference.import_transformers()
        self.model = reference.load_model(torch, folder, code, torch.float32, "cpu")
        self.tokenizer = self.transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)

    @torch.inference_mode()
    def answer(self, line):
        """Greedy ids without the end, the logits of the prompt's last position, and the smallest lead of a token over the next."""
        ids = torch.tensor([reference.render(self.tokenizer, line)])
        pictures = [Image.open(path).convert("RGB") for path in line["images"]]
        images = self.model.get_vision_tower().image_processor(pictures, return_tensors="pt") if pictures else None
        result = self.model(input_ids=ids, images=images, use_cache=True, logits_to_keep=1)
        first, tokens, leads = result.logits[0, -1], [], []
        for _ in range(line["steps"]):
            best = result.logits[0, -1].topk(2)
            leads.append(float(best.values[0] - best.values[1]))
            token = int(best.indices[0])
            if token == IM_END:
                break
            tokens.append(token)
            step = torch.tensor([[token]])
            result = self.model(input_ids=step, past_key_values=result.past_key_values, use_cache=True)
        return tokens, first, min(leads)


def verify(folder, lines, code, out, say):
    """Writes the official answers as JSON Lines; returns (line, right) pairs and the largest difference of prompts' logits."""
    official, model, encoder = Official(folder, code), load_spark(folder), Encoder(read_tokenizer(folder))
    worst, results, written = 0.0, [], []
    for number, line in enumerate(lines, 1):
        tokens, logits, lead = official.answer(line)
        own = prompt_logits(model, encoder, line)
        worst = max(worst, float((own - logits).abs().max()))
        text = official.tokenizer.decode(tokens, skip_special_tokens=False)
        results.append((line, judge(line, text)))
        written.append(
            {"name": line["name"], "ids": tokens, "text": text, "lead": round(lead, 5), "right": results[-1][1]}
        )
        if number % 20 == 0 or number == len(lines):
            say(
                f"{number} of {len(lines)}, {sum(right for _, right in results)} right, largest difference of logits {worst:.2g}"
            )
    Path(out).write_text("".join(json.dumps(answer) + "\n" for answer in written), encoding="utf-8")
    return results, worst


@torch.inference_mode()
def prompt_logits(model, encoder, line):
    """This code's logits of the prompt's last position."""
    row = encoder.prompt_row(read_sample(line), line["mode"])
    batch = collate([row])
    return model(batch, model.see(batch), torch.tensor([len(row.ids) - 1]))[0]
