"""Convolutions one after the other, then dense layers: the plain network, AlexNet and VGG."""
