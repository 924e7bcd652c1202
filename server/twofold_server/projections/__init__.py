"""The projector: folds the log into the read store."""
