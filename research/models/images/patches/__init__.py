"""Networks that begin by cutting an image into patches: ViT, MLP-Mixer and ConvNeXt."""
