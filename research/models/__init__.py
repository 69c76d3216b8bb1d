"""Architectures: one file per family; published sizes are functions beside them, as in `research.models.gpt2`."""

from research.layers.decoding import Decoded, beam_search, greedy
from research.layers.masking import mask_tokens
from research.layers.sampling import generate, sample
from research.models.bert import BertClassifier, BertPretraining
from research.models.cnn import CNN
from research.models.mlp import MLP
from research.models.recurrent import RecurrentClassifier, RecurrentLanguageModel
from research.models.resnet import ResNet, resnet, se_resnet
from research.models.seq2seq import Seq2Seq
from research.models.text_cnn import CNN1D, TextCNN
from research.models.transformer import TransformerClassifier, TransformerLanguageModel
from research.models.transformer_seq2seq import TransformerSeq2Seq, vaswani

__all__ = [
    "CNN",
    "CNN1D",
    "MLP",
    "BertClassifier",
    "BertPretraining",
    "Decoded",
    "RecurrentClassifier",
    "RecurrentLanguageModel",
    "ResNet",
    "Seq2Seq",
    "TextCNN",
    "TransformerClassifier",
    "TransformerLanguageModel",
    "TransformerSeq2Seq",
    "beam_search",
    "generate",
    "greedy",
    "mask_tokens",
    "resnet",
    "sample",
    "se_resnet",
    "vaswani",
]
