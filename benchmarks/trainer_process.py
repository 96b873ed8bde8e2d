"""One epoch of ms-swift or LLaMA-Factory, in the Python environment where it is installed:

    python -I benchmarks/trainer_process.py JOB.json

`benchmarks/peers_trainers.py:train` writes the job and reads what this writes. Nothing of this
project is imported here: the other environment does not have it.

Both trainers run transformers' Trainer. What is measured and recorded is put around its methods:
the time of `train`, and token ids, labels and loss of each `training_step`.
"""

import json
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any


class Watched:
    """What the latest training did: its time in seconds, its batches with their losses, its model.

    Nothing is converted while it runs, so a GPU does not wait for it.

    Attributes:
        dropout: Whether trainings have the model's dropout.
    """

    def __init__(self) -> None:
        self.seconds, self.model, self.dropout = 0.0, None, True
        self.steps: list[tuple[Any, Any, Any]] = []

    def over(self, trainer_class: Any) -> None:
        """Replaces two methods of transformers' Trainer with ones that also record."""
        import torch

        train, training_step = trainer_class.train, trainer_class.training_step

        def timed(trainer: Any, *positional: Any, **named: Any) -> Any:
            self.steps = []
            for module in () if self.dropout else trainer.model.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.0
            started = time.perf_counter()
            result = train(trainer, *positional, **named)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds, self.model = time.perf_counter() - started, trainer.model
            return result

        def recorded(trainer: Any, model: Any, inputs: Any, *positional: Any, **named: Any) -> Any:
            ids, labels = inputs["input_ids"], inputs["labels"]
            loss = training_step(trainer, model, inputs, *positional, **named)
            self.steps.append((ids, labels, loss))
            return loss

        trainer_class.train, trainer_class.training_step = timed, recorded


def write_rows(job: dict[str, Any]) -> None:
    """Saves the rows as a data set that both trainers load without tokenizing."""
    from datasets import Dataset, DatasetDict

    rows: Any = Dataset.from_list(job["rows"])
    if job["module"] == "llamafactory":
        rows = DatasetDict({"train": rows})
    rows.save_to_disk(job["data"])


def run(module: str, arguments: dict[str, Any]) -> None:
    """What `swift sft` and `llamafactory-cli train` call."""
    if module == "llamafactory":
        import_module("llamafactory.train.tuner").run_exp(arguments)
        return
    texts = [text for name, value in arguments.items() for text in (f"--{name}", str(value))]
    import_module("swift.pipelines").sft_main(texts)


def main(path: Path) -> None:
    job = json.loads(path.read_text(encoding="utf-8"))
    write_rows(job)
    import transformers

    watched = Watched()
    watched.over(transformers.Trainer)
    # The first epoch of a process also pays for loading libraries. Other alternatives train in a
    # process that is already warm. Without dropout, its first loss can be compared.
    watched.dropout = False
    run(job["module"], job["arguments"])
    first = watched.steps[:1]
    watched.dropout = True
    run(job["module"], job["arguments"])
    assert watched.model is not None
    watched.model.save_pretrained(job["saved"])
    epoch, [compared] = (
        [
            {"ids": ids.tolist(), "labels": labels.tolist(), "loss": float(loss)}
            for ids, labels, loss in steps
        ]
        for steps in (watched.steps, first)
    )
    result = {"seconds": watched.seconds, "steps": epoch, "without_dropout": compared}
    Path(job["result"]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
