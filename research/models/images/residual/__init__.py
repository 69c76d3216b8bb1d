"""Networks with connections past their layers: ResNet, DenseNet and Xception."""
