"""Training one model: knows PyTorch, but neither Ray nor Optuna."""
