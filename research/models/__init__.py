"""Architectures: one file per family; published sizes are functions beside them, such as `gpt2`."""

from research.layers.sequences.decoding import Decoded, beam_search, greedy
from research.layers.sequences.masking import mask_tokens
from research.layers.sequences.sampling import generate, sample
from research.models.images.inception.inception_v1 import InceptionV1, googlenet, googlenet_batchnorm
from research.models.images.inception.inception_v3 import InceptionV3, inception_v3
from research.models.images.mobile.efficientnet import EfficientNet, efficientnet, efficientnet_lite
from research.models.images.mobile.mobilenet import MobileNet, mobilenet
from research.models.images.mobile.mobilenet_v2 import MobileNetV2, mobilenet_v2
from research.models.images.mobile.mobilenet_v3 import MobileNetV3, mobilenet_v3
from research.models.images.patches.convnext import ConvNeXt, convnext
from research.models.images.patches.mixer import Mixer, mixer
from research.models.images.patches.vit import ViT, vit
from research.models.images.plain.alexnet import AlexNet, alexnet
from research.models.images.plain.cnn import CNN
from research.models.images.plain.vgg import VGG, vgg
from research.models.images.residual.densenet import DenseNet, densenet
from research.models.images.residual.resnet import ResNet, resnet, se_resnet
from research.models.images.residual.xception import Xception, xception
from research.models.mlp import MLP
from research.models.text.bert import BertClassifier, BertPretraining, bert, bert_classifier
from research.models.text.gpt2 import gpt2
from research.models.text.llama import llama
from research.models.text.recurrent import RecurrentClassifier, RecurrentLanguageModel
from research.models.text.seq2seq import Seq2Seq
from research.models.text.t5 import t5
from research.models.text.text_cnn import CNN1D, TextCNN
from research.models.text.transformer import TransformerClassifier, TransformerLanguageModel
from research.models.text.transformer_seq2seq import TransformerSeq2Seq, vaswani

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
    "bert",
    "bert_classifier",
    "convnext",
    "densenet",
    "efficientnet",
    "efficientnet_lite",
    "generate",
    "googlenet",
    "googlenet_batchnorm",
    "gpt2",
    "greedy",
    "inception_v3",
    "llama",
    "mask_tokens",
    "mixer",
    "mobilenet",
    "mobilenet_v2",
    "mobilenet_v3",
    "resnet",
    "sample",
    "se_resnet",
    "t5",
    "vaswani",
    "vgg",
    "vit",
    "xception",
]
