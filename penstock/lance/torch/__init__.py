"""Lance's own place for its datasets for torch: ``penstock.lance.torch.data``."""
