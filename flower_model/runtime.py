"""A batch in, logits and pooled features out."""

import torch
from torch import nn


class TorchRuntime:
    """Runs a timm network on CUDA, MPS or the CPU.

    Example:
        >>> runtime = TorchRuntime(timm.create_model("resnet50"))
        >>> logits, features = runtime(torch.zeros(2, 3, 224, 224))
    """

    def __init__(self, network: nn.Module, device: str | torch.device | None = None) -> None:
        self.device = torch.device(device) if device else _best_device()
        self.network: nn.Module = (
            network.to(memory_format=torch.channels_last).to(self.device).eval()
        )

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Runs one pass.

        Args:
            batch: (photos, 3, height, width) float, normalised as the model's transform does.

        Returns:
            Logits (photos, classes) and pooled features (photos, channels), float32 on the CPU.
        """
        batch = batch.to(self.device).contiguous(memory_format=torch.channels_last)
        return self.forward(self.network, batch)

    @staticmethod
    def forward(network: nn.Module, batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        maps = network.forward_features(batch)  # type: ignore[operator]  # timm networks have it
        features = network.forward_head(maps, pre_logits=True)  # type: ignore[operator]
        logits = network.get_classifier()(features)  # type: ignore[operator]
        return logits.float().cpu(), features.float().cpu()


def _best_device() -> torch.device:
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")
