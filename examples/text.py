"""A Hugging Face text data set to token tensors on two workers, and a small classifier trained on them.

    python examples/text.py

The text is made here: reviews, of words of one mood and of any words. A token is the number that a word hashes to, so
there is nothing to download.
"""

from zlib import crc32

import numpy as np
import torch
from datasets import Dataset, disable_progress_bars

from penstock import DataLoader2, MultiProcessingReadingService
from penstock.pipes.map import HuggingFaceTable

COUNT = 4000
BATCH = 64
LENGTH = 12  # tokens of a text; 0 where there are none
TOKENS = 4096


def reviews(count: int) -> Dataset:
    rng = np.random.default_rng(0)
    moods = [["dull", "weak", "slow", "poor"], ["bright", "warm", "quick", "rich"]]
    labels = rng.integers(0, 2, count)
    texts = [" ".join(rng.choice([*moods[label], "a", "the", "plot", "scene"], 8)) for label in labels]
    return Dataset.from_dict({"text": texts, "label": labels})


def tokenized(batch: dict) -> dict:
    tokens = np.zeros((len(batch["text"]), LENGTH), np.int64)
    for row, text in zip(tokens, batch["text"], strict=True):
        words = text.split()[:LENGTH]
        row[: len(words)] = [1 + crc32(word.encode()) % (TOKENS - 1) for word in words]
    return {"tokens": tokens, "label": batch["label"]}


class Classifier(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(TOKENS, 32, padding_idx=0)
        self.tell = torch.nn.Linear(32, 2)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.tell(self.embed(tokens).sum(1))


disable_progress_bars()
torch.manual_seed(0)

# Each epoch draws every row once, in an order of its own; a batch of texts is taken, and made tokens, in one go.
datapipe = HuggingFaceTable(reviews(COUNT), ["text", "label"]).shuffle().sharding_filter()
datapipe = datapipe.take_rows(BATCH).map(tokenized).to_tensors()

model = Classifier()
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)

with DataLoader2(datapipe, reading_service=MultiProcessingReadingService(num_workers=2)) as dl:
    for epoch in range(2):
        dl.seed(epoch)
        right = 0
        for batch in dl:
            scores = model(batch["tokens"])
            loss = torch.nn.functional.cross_entropy(scores, batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += int((scores.argmax(1) == batch["label"]).sum())
        print(f"epoch {epoch}: loss {loss.item():.3f}, {right / COUNT:.0%} right")
