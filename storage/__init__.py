"""What outlives a process: the Optuna storage, claims, teacher logits, checkpoints."""
