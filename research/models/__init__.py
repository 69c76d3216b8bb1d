"""Architectures: one file per family; published sizes are functions beside them, as in `research.models.gpt2`."""

from research.layers.decoding import Decoded, beam_search, greedy
from research.layers.masking import mask_tokens
from research.layers.sampling import generate, sample
from research.models.alexnet import AlexNet, alexnet
from research.models.bert import BertClassifier, BertPretraining
from research.models.cnn import CNN
from research.models.convnext import ConvNeXt, convnext
from research.models.densenet import DenseNet, densenet
from research.models.efficientnet import EfficientNet, efficientnet, efficientnet_lite
from research.models.inception_v1 import InceptionV1, googlenet, googlenet_batchnorm
from research.models.inception_v3 import InceptionV3, inception_v3
from research.models.mixer import Mixer, mixer
from research.models.mlp import MLP
from research.models.mobilenet import MobileNet, mobilenet
from research.models.mobilenet_v2 import MobileNetV2, mobilenet_v2
from research.models.mobilenet_v3 import MobileNetV3, mobilenet_v3
from research.models.recurrent import RecurrentClassifier, RecurrentLanguageModel
from research.models.resnet import ResNet, resnet, se_resnet
from research.models.seq2seq import Seq2Seq
from research.models.text_cnn import CNN1D, TextCNN
from research.models.transformer import TransformerClassifier, TransformerLanguageModel
from research.models.transformer_seq2seq import TransformerSeq2Seq, vaswani
from research.models.vgg import VGG, vgg
from research.models.vit import ViT, vit
from research.models.xception import Xception, xception

__all__ = [
    "CNN",
    "CNN1D",
    "MLP",
    "VGG",
    "AlexNet",
    "BertClassifier",
    "BertPretraining",
    "ConvNeXt",
    "Decoded",
    "DenseNet",
    "EfficientNet",
    "InceptionV1",
    "InceptionV3",
    "Mixer",
    "MobileNet",
    "MobileNetV2",
    "MobileNetV3",
    "RecurrentClassifier",
    "RecurrentLanguageModel",
    "ResNet",
    "Seq2Seq",
    "TextCNN",
    "TransformerClassifier",
    "TransformerLanguageModel",
    "TransformerSeq2Seq",
    "ViT",
    "Xception",
    "alexnet",
    "beam_search",
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_lite",
    "generate",
    "googlenet",
    "googlenet_batchnorm",
    "greedy",
    "inception_v3",
    "mask_tokens",
    "mixer",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "resnet",
    "sample",
    "se_resnet",
    "vaswani",
    "vgg",
    "vit",
    "xception",
]
