"""Networks for small processors: MobileNet and EfficientNet."""
