"""Other tools that train the five classes, each set up as in its documentation.

    python -m benchmarks.training.peers student FLOWERS5 PRETRAINED

prints "seconds,accuracy" after every epoch, with the seconds since the start of the process. All
start from the same weights and measure accuracy on the same validation photos; see
`benchmarks.training.compare`.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader
from torchvision import models, transforms
from torchvision.datasets import ImageFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WORKERS = os.cpu_count() or 1


def main() -> None:
    """Run a tool to its last epoch."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=TRAINERS)
    parser.add_argument("data", type=Path, help="a folder with train/ and val/")
    parser.add_argument("pretrained", type=Path, help="a folder with ResNet-50 weights")
    options = parser.parse_args()
    TRAINERS[options.name](options.data, options.pretrained)


def student(data: Path, pretrained: Path) -> None:
    """The report's script, after PyTorch's transfer learning tutorial: fp32, Adam, StepLR."""
    square = [transforms.Resize(256), transforms.CenterCrop(224)]
    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    flipped = transforms.Compose([*square, transforms.RandomHorizontalFlip(), *end])
    train, val = _folders(data, flipped, transforms.Compose([*square, *end]))
    network = models.resnet50()
    network.load_state_dict(load_file(pretrained / "model.safetensors"))
    network.fc = nn.Linear(network.fc.in_features, len(train.classes))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    loss_of = nn.CrossEntropyLoss()
    batches = DataLoader(train, batch_size=32, shuffle=True, num_workers=WORKERS)
    for _ in range(25):
        network.train()
        for pixels, targets in batches:
            optimizer.zero_grad()
            loss_of(network(pixels), targets).backward()
            optimizer.step()
        scheduler.step()
        _report(network, DataLoader(val, batch_size=32, num_workers=WORKERS))


def timm_script(data: Path, pretrained: Path) -> None:
    """timm's train.py with its defaults, except for 10 epochs, 2 of warm-up, and batches of 32."""
    import timm
    from timm.data import create_dataset, create_loader
    from timm.loss import LabelSmoothingCrossEntropy
    from timm.optim import create_optimizer_v2
    from timm.scheduler import create_scheduler_v2

    epochs, batch_size = 10, 32
    sets = [create_dataset("", root=data, split=split) for split in ("train", "val")]
    common = {
        "input_size": (3, 224, 224),
        "batch_size": batch_size,
        "mean": MEAN,
        "std": STD,
        "num_workers": WORKERS,
        "use_prefetcher": False,
    }
    train = create_loader(
        sets[0],
        is_training=True,
        color_jitter=0.4,
        hflip=0.5,
        interpolation="random",
        **common,
    )
    val = create_loader(sets[1], crop_pct=0.875, interpolation="bilinear", **common)
    network = timm.create_model(f"local-dir:{pretrained}", pretrained=True, num_classes=5)
    rate = 0.1 * batch_size / 256  # --lr-base and --lr-base-size
    optimizer = create_optimizer_v2(network, opt="sgd", lr=rate, momentum=0.9, weight_decay=2e-5)
    scheduler, epochs = create_scheduler_v2(
        optimizer, sched="cosine", num_epochs=epochs, warmup_epochs=2, warmup_lr=1e-5
    )
    loss_of = LabelSmoothingCrossEntropy(0.1)
    scheduler.step(0)
    for epoch in range(epochs):
        network.train()
        for pixels, targets in train:
            optimizer.zero_grad()
            loss_of(network(pixels), targets).backward()
            optimizer.step()
        _report(network, val)
        scheduler.step(epoch + 1)


def trainer(data: Path, pretrained: Path) -> None:
    """Hugging Face's Trainer with the settings of its image classification example."""
    from transformers import (
        AutoModelForImageClassification,
        Trainer,
        TrainerCallback,
        TrainingArguments,
    )

    end = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    cropped = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *end]
    square = [transforms.Resize(256), transforms.CenterCrop(224), *end]
    train, val = _folders(data, transforms.Compose(cropped), transforms.Compose(square))
    model = AutoModelForImageClassification.from_pretrained(
        pretrained, num_labels=len(train.classes), ignore_mismatched_sizes=True
    )

    class Report(TrainerCallback):
        def on_epoch_end(self, *_: Any, model: nn.Module, **__: Any) -> None:
            batches = DataLoader(val, batch_size=32, num_workers=WORKERS)
            _report(model, batches, lambda output: output.logits)

    def collate(items: list[tuple[torch.Tensor, int]]) -> dict[str, torch.Tensor]:
        pixels, targets = zip(*items, strict=True)
        return {"pixel_values": torch.stack(pixels), "labels": torch.tensor(targets)}

    with tempfile.TemporaryDirectory() as folder:
        Trainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                learning_rate=2e-5,
                num_train_epochs=5,
                per_device_train_batch_size=8,
                seed=1337,
                save_strategy="no",
                report_to="none",
                remove_unused_columns=False,
                dataloader_num_workers=WORKERS,
            ),
            train_dataset=train,
            data_collator=collate,
            callbacks=[Report()],
        ).train()


def fastai(data: Path, pretrained: Path) -> None:
    """fastai's fine_tune as in its book: an epoch of the head, then all layers at discriminative rates."""
    from fastai.vision.all import (
        Callback,
        ImageDataLoaders,
        Resize,
        aug_transforms,
        model_meta,
        vision_learner,
    )

    def resnet50(**_: Any) -> nn.Module:
        network = models.resnet50()
        network.load_state_dict(load_file(pretrained / "model.safetensors"))
        return network

    # The normalisation and the layer groups of torchvision's ResNet-50.
    model_meta[resnet50] = model_meta[models.resnet50]

    class Report(Callback):
        def after_epoch(self) -> None:
            _report(self.learn.model, self.learn.dls.valid)

    loaders = ImageDataLoaders.from_folder(
        data,
        valid="val",
        item_tfms=Resize(460),
        batch_tfms=aug_transforms(size=224, min_scale=0.75),
        bs=32,
        num_workers=WORKERS,
    )
    learner = vision_learner(loaders, resnet50, cbs=[Report()])
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(5, base_lr=2e-3)


TRAINERS: dict[str, Callable[[Path, Path], None]] = {
    "student": student,
    "timm": timm_script,
    "trainer": trainer,
    "fastai": fastai,
}


def _folders(data: Path, train: Any, val: Any) -> tuple[ImageFolder, ImageFolder]:
    return ImageFolder(data / "train", train), ImageFolder(data / "val", val)


@torch.no_grad()
def _report(
    network: nn.Module, batches: Iterable[Any], logits_of: Callable[[Any], Any] = lambda x: x
) -> None:
    """Print the seconds since the start of the process and the validation accuracy."""
    was_training = network.training
    network.eval()
    hits = seen = 0
    for pixels, targets in batches:
        hits += int((logits_of(network(pixels)).argmax(1) == targets).sum())
        seen += len(targets)
    network.train(was_training)
    print(f"{time.time() - psutil.Process().create_time():.1f},{hits / seen:.5f}", flush=True)


if __name__ == "__main__":
    main()
