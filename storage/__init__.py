"""What a study is and stores, the Optuna storage, who may claim what, files that are whole."""
