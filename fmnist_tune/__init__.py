"""Hyperparameter search for PyTorch classifiers on Fashion-MNIST."""
