"""The end of a study: retraining, evaluation, the saved model."""
